# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest's serial console said, and what its display shows.

KubeVirt keeps the console's output as the log of a container beside the guest (C(guest-console-log)), unless the
cluster or the machine turns that off. Then there is only the console itself, which says what comes from now on.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ..cluster.client import Client
from ..cluster.errors import Invalid
from ..cluster.resource import Object, Resource
from ..task import Failure, Result, Task
from ..whole_file import write_whole
from .core import POD
from .kubevirt import INSTANCE_ACTIONS, VIRTUAL_MACHINE_INSTANCE, at

Pieces = Generator[bytes, None, None]

LOG_CONTAINER = "guest-console-log"
CREATED_BY = "kubevirt.io/created-by"

# Colours and cursor movements, which firmware and boot loaders write.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-Z\\-_]|[\x00-\x08\x0b\x0c\x0e-\x1f]")
# Seconds to listen to a console that keeps no log, where no pattern is waited for.
_LISTEN = 2.0
# Characters of the end of a console's output that a failure shows.
_TOLD = 600


@dataclass(frozen=True)
class Heard:
    """What a console said. C(source) is log or stream; C(match) is what the pattern matched."""

    text: str
    source: str
    match: str | None = None


def read_console(client: Client, task: Task) -> Result:
    """Run a task of C(vm_console_log)."""
    params = task.params
    pattern, tail, timeout = _pattern(params["pattern"]), params["tail"], params["wait_timeout"]
    if tail is not None and tail < 0:
        raise Failure(f"tail: {tail} is less than 0 lines.")
    if timeout <= 0:
        raise Failure(f"wait_timeout: {timeout} is no time to wait; use 1 or more seconds.")
    instance = running_instance(client, params["namespace"], params["name"])
    heard = listen(client, instance, pattern, tail, timeout)
    lines = heard.text.splitlines()
    if tail is not None:
        lines = lines[len(lines) - tail :] if tail < len(lines) else lines
    text = "\n".join(lines) + "\n" if lines else ""
    return {"changed": False, "log": text, "lines": lines, "match": heard.match, "source": heard.source}


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text, re.MULTILINE)
    except re.error as error:
        raise Failure(f'pattern: "{text}" is no regular expression: {error}.') from error


def save_screenshot(client: Client, task: Task) -> Result:
    """Run a task of C(vm_screenshot)."""
    dest = Path(task.params["dest"])
    if dest.is_dir() or not dest.parent.is_dir():
        what = "is a directory; name a file" if dest.is_dir() else f"cannot be written: there is no {dest.parent}"
        raise Failure(f"dest: {dest} {what}.")
    instance = running_instance(client, task.params["namespace"], task.params["name"])
    picture = screenshot(client, instance)
    width, height = png_size(picture)
    changed = not dest.is_file() or dest.read_bytes() != picture
    if changed and not task.check_mode:
        try:
            write_whole(dest, picture)
        except OSError as error:
            raise Failure(f"dest: {dest} cannot be written: {error.strerror}. Nothing was kept of it.") from error
    return {"changed": changed, "dest": str(dest), "width": width, "height": height, "size": len(picture)}


def png_size(picture: bytes) -> tuple[int, int]:
    """Width and height of a PNG in pixels. Raises Failure for what is none."""
    if picture[:8] != b"\x89PNG\r\n\x1a\n" or picture[12:16] != b"IHDR":
        raise Failure("The cluster sent something else than a picture. Update KubeVirt: screenshots came with 1.1.")
    width, height = struct.unpack(">II", picture[16:24])
    return int(width), int(height)


def running_instance(client: Client, namespace: str, name: str) -> Object:
    """The running instance of a machine. Raises Failure where there is none, with what to do."""
    instance = client.get(VIRTUAL_MACHINE_INSTANCE, name, namespace)
    if instance is None:
        raise Failure(
            f"The machine {namespace}/{name} does not run, or does not exist. Start it, with virtstack.core.vm_power."
        )
    phase = at(instance, "status.phase") or "Pending"
    if phase != "Running":
        raise Failure(f"The guest of {namespace}/{name} does not run yet: its phase is {phase}. Wait until it runs.")
    return instance


def listen(
    client: Client, instance: Object, pattern: re.Pattern[str] | None, tail: int | None, timeout: float
) -> Heard:
    """What the console said, at most the last C(tail) lines; with a pattern, as soon as it is there.

    Raises Failure when it is not there after C(timeout) seconds, or when the guest stops before.
    """
    started = time.monotonic()
    pod = _launcher(client, instance)
    if pod is not None:
        try:
            if pattern is None:
                data = client.content(*pod, "log", accept="*/*", container=LOG_CONTAINER, tailLines=tail)
                return Heard(plain(data), "log")
            follow = client.lines(*pod, "log", timeout=timeout, container=LOG_CONTAINER, follow="true")
            return _await(instance, follow, pattern, "log", started, timeout)
        except Invalid as error:
            # The container is missing: the log is turned off.
            if LOG_CONTAINER not in error.server_message:
                raise
    seconds = timeout if pattern is not None else min(_LISTEN, timeout)
    live = _live(client, instance, started + seconds)
    if pattern is None:
        return Heard(plain(b"".join(live)), "stream")
    return _await(instance, live, pattern, "stream", started, timeout)


def screenshot(client: Client, instance: Object) -> bytes:
    """What the display shows, as PNG."""
    metadata = instance["metadata"]
    return client.content(INSTANCE_ACTIONS, metadata["name"], metadata["namespace"], "vnc/screenshot", accept="*/*")


def plain(data: bytes) -> str:
    """The text of a console's output, without colours and cursor movements."""
    return _CONTROL.sub("", data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n"))


def _launcher(client: Client, instance: Object) -> tuple[Resource, str, str] | None:
    """The pod that the instance runs in now; while it migrates there are two."""
    metadata, node = instance["metadata"], at(instance, "status.nodeName")
    pods = client.list(POD, metadata["namespace"], label_selector=f"{CREATED_BY}={metadata['uid']}").items
    for pod in pods:
        if at(pod, "status.phase") == "Running" and at(pod, "spec.nodeName") == node:
            return POD, pod["metadata"]["name"], metadata["namespace"]
    return None


def _live(client: Client, instance: Object, deadline: float) -> Pieces:
    metadata = instance["metadata"]
    with client.stream(INSTANCE_ACTIONS, metadata["name"], metadata["namespace"], "console") as stream:
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                data = stream.read(remaining)
            except TimeoutError:
                return
            if not data:
                return
            yield data


def _await(
    instance: Object,
    pieces: Generator[bytes, None, None],
    pattern: re.Pattern[str],
    source: str,
    started: float,
    timeout: float,
) -> Heard:
    heard = b""
    with closing(pieces), suppress(TimeoutError):
        for piece in pieces:
            heard += piece
            text = plain(heard)
            if match := pattern.search(text):
                return Heard(text, source, match[0])
            if time.monotonic() - started > timeout:
                break
    label = f"{instance['metadata']['namespace']}/{instance['metadata']['name']}"
    said = plain(heard)[-_TOLD:].strip()
    spent = time.monotonic() - started
    why = f"not within {timeout:g} seconds" if spent >= timeout else f"and its output ended after {spent:.0f} seconds"
    raise Failure(
        f'The console of {label} did not say "{pattern.pattern}", {why}. It said last: {said or "nothing"}',
        log=plain(heard),
        source=source,
        match=None,
    )
