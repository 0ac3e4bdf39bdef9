"""The command C(virtlab)."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from virtlab import __version__
from virtlab.faults import FIELDS, SUBJECTS
from virtlab.guests import choice
from virtlab.hosts import cli as hosts_cli
from virtlab.hosts.requirements import HostError
from virtlab.state import State, StateError, default_directory

STOP_SECONDS = 15.0
READY = "ready"  # what the server tells the process that started it; anything else is why it cannot serve
NOT_RUNNING = 3  # exit status of `virtlab status`, as for services


class Problem(Exception):
    """Something the user has to know; its text is all that is shown."""


def ask(state: State, method: str, path: str, body: Any = None, *, timeout: float = 60) -> Any:
    """A request to the running server's control endpoint; raises Problem."""
    if state.pid() is None:
        raise Problem(f"no lab runs in {state.directory}: virtlab start")
    request = urllib.request.Request(
        f"{state.url}/virtlab/{path}",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={"Authorization": f"Bearer {state.admin_token}", "Content-Type": "application/json"},
    )
    context = ssl.create_default_context(cafile=str(state.authority.certificate_file))
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise Problem(_message(error)) from None
    except OSError as error:
        raise Problem(f"the lab at {state.url} does not answer: {error}") from None


def _message(error: urllib.error.HTTPError) -> str:
    text = error.read().decode("utf-8", "replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {text}"


def start(state: State, arguments: argparse.Namespace) -> int:
    state.prepare()
    wanted = {
        name: value
        for name in ("port", "time_factor", "seed", "guests")
        if (value := getattr(arguments, name)) is not None
    }
    with state.alone():
        if state.pid() is None:
            _prepare_schemas()
            _start_with(state, wanted, install=arguments.installed)
        else:
            _compare(state, wanted, installed=arguments.installed)
    print(state.kubeconfig)
    if not arguments.quiet:
        print(f"export KUBECONFIG={state.kubeconfig}", file=sys.stderr)
        print(f"{state.url} is up; virtlab stop ends it", file=sys.stderr)
        print(f"guests: {ask(state, 'GET', 'status')['guests']}", file=sys.stderr)
    return 0


def _start_with(state: State, wanted: dict[str, Any], *, install: bool) -> None:
    """Start with these settings, which are kept once they have proved right."""
    before = state.settings
    state.settings = dataclasses.replace(before, **wanted)
    try:
        _launch(state, install)
    except Problem:
        state.settings = before
        raise


def _compare(state: State, wanted: dict[str, Any], *, installed: bool) -> None:
    """Raises Problem when the lab that runs is not the one asked for."""
    settings = state.settings
    for name, value in wanted.items():
        has = getattr(settings, name)
        if value != has and (name, value) != ("port", 0):
            option = f"--{name.replace('_', '-')}"
            raise Problem(f"the lab runs already, with {option} {has}; virtlab stop first to change it")
    if installed and not ask(state, "GET", "status")["objects"].get("hyperconvergeds.hco.kubevirt.io"):
        raise Problem("the lab runs already, without the operator; virtlab stop first to start it --installed")


def _prepare_schemas() -> None:
    """Fetched once and kept; only the first start of all takes longer."""
    from virtlab.schema.source import SchemaSourceError, open_schemas

    try:
        open_schemas(lambda message: print(message, file=sys.stderr)).close()
    except SchemaSourceError as error:
        raise Problem(str(error)) from None


def _launch(state: State, install: bool) -> None:
    """Start the server process and wait until it answers; raises Problem."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "virtlab", "serve", "--state-dir", str(state.directory)]
    command += ["--ready-fd", str(writing), *(["--installed"] if install else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(writing,),
        start_new_session=True,
        env=environment,
        cwd="/",
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    if answer == READY:
        return
    process.wait(STOP_SECONDS)
    raise Problem(answer or f"the lab did not start; {state.log} may say why")


def serve(state: State, arguments: argparse.Namespace) -> int:
    from virtlab import daemon

    daemon.detach(state)
    try:
        daemon.serve(state.directory, lambda: _tell(arguments.ready_fd, READY), install=arguments.installed)
    except daemon.CannotServe as error:
        _tell(arguments.ready_fd, str(error))
        return 1
    logging.shutdown()
    os._exit(0)  # everything is written; taking thousands of objects apart would only take time


def _tell(descriptor: int, text: str) -> None:
    """Answer the process that started this one."""
    with os.fdopen(descriptor, "w") as pipe:
        pipe.write(text)


def stop(state: State, arguments: argparse.Namespace) -> int:
    pid = state.pid()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        if not state.wait_stopped(STOP_SECONDS):
            os.kill(pid, signal.SIGKILL)
            state.wait_stopped(STOP_SECONDS)
    choice.stop_nodes(state)  # they outlive a server that was killed
    return 0


def status(state: State, arguments: argparse.Namespace) -> int:
    pid = state.pid()
    if pid is None:
        print(f"not running ({state.directory})")
        return NOT_RUNNING
    found = ask(state, "GET", "status")
    if arguments.json:
        print(json.dumps({"pid": pid, "url": state.url, "kubeconfig": str(state.kubeconfig), **found}))
        return 0
    objects = found["objects"]
    print(f"running: {state.url} (process {pid}, virtlab {found['version']})")
    print(f"kubeconfig: {state.kubeconfig}")
    print(f"guests: {found['guests']}")
    print(f"time factor: {found['timeFactor']:g}; {sum(objects.values())} objects; {found['faults']} faults")
    for name in ("nodes", "namespaces", "virtualmachines.kubevirt.io", "virtualmachineinstances.kubevirt.io"):
        print(f"  {name}: {objects.get(name, 0)}")
    return 0


def reset(state: State, arguments: argparse.Namespace) -> int:
    """Empties the lab: every object goes, keys, token and port stay."""
    if not state.directory.exists():
        return 0
    with state.alone():
        was_running = state.pid() is not None
        stop(state, arguments)
        for path in state.directory.glob(f"{state.database.name}*"):
            path.unlink()
        choice.delete_nodes(state)
        for directory in (state.storage, state.guests):
            shutil.rmtree(directory, ignore_errors=True)
        if was_running:
            _launch(state, False)
    return 0


def kubeconfig(state: State, arguments: argparse.Namespace) -> int:
    if not state.kubeconfig.exists():
        raise Problem(f"no lab was ever started in {state.directory}: virtlab start")
    if arguments.content:
        shutil.copyfileobj(state.kubeconfig.open(), sys.stdout)
    else:
        print(state.kubeconfig)
    return 0


def load(state: State, arguments: argparse.Namespace) -> int:
    wanted = {name: getattr(arguments, name) for name in ("vms", "running", "namespaces", "seed")}
    print(json.dumps(ask(state, "POST", "load", wanted, timeout=600)))
    return 0


def fault(state: State, arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "add":
            fields = {name: value for name in FIELDS if (value := getattr(arguments, name, None)) is not None}
            print(ask(state, "POST", "faults", fields)["id"])
        case "list":
            for rule in ask(state, "GET", "faults")["faults"]:
                print(json.dumps(rule))
        case "clear":
            query = "" if arguments.id is None else f"?id={arguments.id}"
            print(ask(state, "DELETE", f"faults{query}")["cleared"])
    return 0


def node(state: State, arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "list":
            for name, power in ask(state, "GET", "nodes")["nodes"].items():
                print(name, power)
        case "crash" | "start":
            ask(state, "POST", "nodes", {"name": arguments.name, "on": arguments.action == "start"}, timeout=120)
    return 0


def expire(state: State, arguments: argparse.Namespace) -> int:
    ask(state, "POST", "expire")
    return 0


def image(state: State, arguments: argparse.Namespace) -> int:
    from virtlab.cloud_image import image as debian
    from virtlab.tiny import image as tiny

    try:
        made = tiny.make(arguments.target).files if arguments.kind == "tiny" else [debian.make(arguments.target).disk]
    except tiny.ImageError as error:
        raise Problem(f"the {arguments.kind} image cannot be made here: {error}") from None
    for path in made:
        print(path)
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="virtlab",
        description="A virtualization cluster for one machine. "
        "It begins with: virtlab start --installed; export KUBECONFIG=$(virtlab kubeconfig)",
    )
    top.add_argument("--version", action="version", version=__version__)
    common = argparse.ArgumentParser(add_help=False)
    # Given before a fault's action, it must outlast the action's own default.
    top.set_defaults(state_dir=None)
    common.add_argument(
        "--state-dir",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="DIRECTORY",
        help="the lab's directory (VIRTLAB_HOME, else below XDG_STATE_HOME)",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[State, argparse.Namespace], int], text: str | None
    ) -> argparse.ArgumentParser:
        # A command without a text is for the lab itself and not shown.
        shown: dict[str, Any] = {"help": text, "description": _sentence(text)} if text else {}
        added = commands.add_parser(name, parents=[common], **shown)
        added.set_defaults(run=run)
        return added

    starting = command("start", start, "start the lab and print its kubeconfig's path")
    starting.add_argument(
        "--port", metavar="N", type=_port, help="port on the loopback interface (default: a free one, kept)"
    )
    starting.add_argument(
        "--time-factor", metavar="N", type=_number, help="how long things take: 1 realistic, 0.1 a tenth, 0 no time"
    )
    starting.add_argument("--installed", action="store_true", help="with the operator installed and ready")
    starting.add_argument("--seed", metavar="N", type=int, help="make generated names and addresses repeatable")
    starting.add_argument(
        "--guests",
        choices=choice.KINDS,
        help="real: QEMU guests on KVM hosts of this machine; auto: real where that is possible (default: simulated)",
    )
    starting.add_argument("--quiet", action="store_true", help="print nothing but the path")
    command("stop", stop, "stop the lab; its state stays")
    showing = command("status", status, "show whether the lab runs and what it holds")
    showing.add_argument("--json", action="store_true", help="as JSON")
    command("reset", reset, "take every object out of the lab")
    config = command("kubeconfig", kubeconfig, "print the path of the lab's kubeconfig")
    config.add_argument("--content", action="store_true", help="print what is in it")
    loading = command("load", load, "fill the lab with VMs")
    loading.add_argument("--vms", metavar="N", type=_count, default=10_000, help="how many VMs (10000)")
    loading.add_argument("--running", metavar="N", type=_count, default=5_000, help="how many of them run (5000)")
    loading.add_argument("--namespaces", metavar="N", type=_count, default=200, help="over how many namespaces (200)")
    loading.add_argument("--seed", metavar="N", type=int, default=1, help="the same seed makes the same machines (1)")
    command("expire", expire, "forget all history: watches and pages from before get 410")
    _add_faults(command("fault", fault, "make the lab misbehave by rule"), common)
    _add_nodes(command("node", node, "cut the power of nodes, and switch them on again"), common)
    hosting = commands.add_parser(
        "host", help="KVM hosts without a cluster", description="KVM hosts without a cluster."
    )
    hosting.set_defaults(run=lambda state, arguments: hosts_cli.run(arguments))
    hosts_cli.add_actions(hosting)
    imaging = command("image", image, "make an image for guests: a tiny Linux in seconds, or a Debian with cloud-init")
    imaging.add_argument("kind", choices=("tiny", "debian"), help="which image")
    imaging.add_argument("target", type=Path, metavar="DIRECTORY", help="where to put it")
    serving = command("serve", serve, None)
    serving.add_argument("--ready-fd", type=int, required=True)
    serving.add_argument("--installed", action="store_true")
    return top


def _add_nodes(top: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = top.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("list", "show the nodes and whether they are on"),
        ("crash", "cut the power of a node: everything on it dies, and it says nothing more"),
        ("start", "switch a node on again"),
    ):
        action = actions.add_parser(name, parents=[common], help=text, description=_sentence(text))
        if name != "list":
            action.add_argument("name", metavar="NAME", help="the node")


def _add_faults(top: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = top.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, parents=[common], help=text, description=_sentence(text))

    add = action("add", "add a rule and print its number")
    add.add_argument("subject", choices=SUBJECTS, nargs="?", default="request", help="what the rule is about")
    add.add_argument(
        "--verb", metavar="VERBS", help="API verbs, comma-separated: get,list,watch,create,update,patch,delete"
    )
    add.add_argument(
        "--path", metavar="REGEX", help="regular expression: URL path, or namespace/name of a VM or volume"
    )
    add.add_argument("--user", metavar="REGEX", help="regular expression: user name")
    add.add_argument("--count", metavar="N", type=_count, help="use the rule so often, then drop it (always)")
    add.add_argument("--probability", metavar="P", type=_number, help="0 to 1 (1)")
    add.add_argument("--latency", metavar="SECONDS", type=_number, help="seconds before the answer")
    add.add_argument("--code", metavar="N", type=_count, help="answer with this status")
    add.add_argument("--reason", metavar="TEXT", help="the Status' reason")
    add.add_argument("--message", metavar="TEXT", help="the Status' message, or why an import or scheduling fails")
    add.add_argument("--retry-after", metavar="SECONDS", type=_count, help="seconds in the Retry-After header")
    add.add_argument(
        "--drop",
        choices=("before", "amid", "after"),
        help="cut the connection before or after the request is done, or amid the bytes of an upload or download",
    )
    add.add_argument("--slow", metavar="SECONDS", type=_number, help="seconds between chunks of the answer")
    add.add_argument("--lifetime", metavar="SECONDS", type=_count, help="seconds that tokens last")
    action("list", "show the rules")
    clear = action("clear", "drop one rule, or all")
    clear.add_argument("id", type=_count, nargs="?", help="the rule's number")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def _port(text: str) -> int:
    value = _count(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{text} is more than 65535")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = parser().parse_args(arguments)
    state = State(parsed.state_dir or default_directory())
    try:
        return int(parsed.run(state, parsed))
    except (Problem, StateError, HostError) as problem:
        print(f"virtlab: {problem}", file=sys.stderr)
    except OSError as error:
        print(f"virtlab: {error.filename or state.directory}: {error.strerror}", file=sys.stderr)
    return 1
