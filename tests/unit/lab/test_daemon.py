"""The command virtlab: start, stop, state, several labs."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from wire import Api

README = Path(__file__).parents[3] / "lab/README.md"


class Own:
    """A lab that a test starts and stops itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, command: str, *arguments: str, code: int = 0) -> str:
        verbs = command.split()
        line = [sys.executable, "-m", "virtlab", *verbs, "--state-dir", str(self.directory), *arguments]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        return done.stdout + (done.stderr if code else "")

    @property
    def api(self) -> Api:
        return Api(self.directory / "kubeconfig", "default")

    @property
    def pid(self) -> int:
        return int(json.loads(self.run("status", "--json"))["pid"])

    @property
    def server(self) -> str:
        config = yaml.safe_load((self.directory / "kubeconfig").read_text())
        return str(config["clusters"][0]["cluster"]["server"])


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not yet waited for has no command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Own]:
    lab = Own(tmp_path / "own")
    yield lab
    lab.run("stop")


def test_start_prints_a_kubeconfig_that_works(own: Own) -> None:
    assert own.run("start", "--quiet").strip() == str(own.directory / "kubeconfig")
    assert own.api("GET", "/version").body["gitVersion"].startswith("v1.")
    assert own.run("kubeconfig").strip() == str(own.directory / "kubeconfig")
    assert yaml.safe_load(own.run("kubeconfig", "--content"))["current-context"] == "virtlab"


def test_starting_twice_is_starting_once(own: Own) -> None:
    own.run("start")
    pid = own.pid
    own.run("start")
    assert own.pid == pid


def test_state_address_and_token_survive_a_restart(own: Own) -> None:
    own.run("start")
    kubeconfig = (own.directory / "kubeconfig").read_bytes()
    uid = own.api.config_map("kept", data={"k": "v"}).body["metadata"]["uid"]
    own.run("stop")
    own.run("start")
    assert (own.directory / "kubeconfig").read_bytes() == kubeconfig
    assert own.api("GET", "/api/v1/namespaces/default/configmaps/kept").body["metadata"]["uid"] == uid


def test_stop_leaves_nothing_running(own: Own) -> None:
    own.run("start")
    pid = own.pid
    own.run("stop")
    assert not alive(pid)
    assert "not running" in own.run("status", code=3)
    own.run("stop")


def test_reset_empties_the_lab_and_keeps_its_address(own: Own) -> None:
    own.run("start")
    server = own.server
    own.api.config_map("gone")
    own.run("reset")
    assert own.server == server
    assert own.api("GET", "/api/v1/namespaces/default/configmaps/gone").status == 404


def test_two_labs_run_side_by_side(own: Own, tmp_path: Path) -> None:
    other = Own(tmp_path / "other")
    try:
        own.run("start")
        other.run("start")
        own.api.config_map("mine")
        assert other.api("GET", "/api/v1/namespaces/default/configmaps/mine").status == 404
    finally:
        other.run("stop")


def test_only_the_owner_reads_the_state(own: Own) -> None:
    own.run("start")
    assert stat.S_IMODE(own.directory.stat().st_mode) == 0o700
    for name in ("kubeconfig", "admin.token", "ca.key", "server.key", "service-account.key"):
        assert stat.S_IMODE((own.directory / name).stat().st_mode) == 0o600, name


def test_a_port_that_is_taken_is_named(own: Own) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} cannot be used (Address already in use)" in own.run("start", "--port", str(port), code=1)
    own.run("start")  # a port that could not be used is not kept


def test_it_listens_on_loopback_only(own: Own) -> None:
    own.run("start")
    assert own.server.startswith("https://127.0.0.1:")
    with socket.socket(socket.AF_INET) as elsewhere:
        # The port is free on every other address, such as this one of the loopback network.
        elsewhere.bind(("127.0.0.2", int(own.server.rpartition(":")[2])))


def test_many_starts_at_once_are_one_start(own: Own) -> None:
    with ThreadPoolExecutor(3) as threads:
        printed = list(threads.map(lambda _: own.run("start", "--quiet"), range(3)))
    assert printed == [f"{own.directory}/kubeconfig\n"] * 3
    assert own.api("GET", "/version").status == 200


def test_a_lab_that_was_killed_starts_with_what_it_had(own: Own) -> None:
    own.run("start")
    uid = own.api.config_map("kept").body["metadata"]["uid"]
    own.run("stop")
    own.run("start")
    process = os.pidfd_open(own.pid)
    signal.pidfd_send_signal(process, signal.SIGKILL)
    select.select([process], [], [])  # readable once it ended
    os.close(process)
    assert "not running" in own.run("status", code=3)
    own.run("start")
    assert own.api("GET", "/api/v1/namespaces/default/configmaps/kept").body["metadata"]["uid"] == uid


def test_a_running_lab_is_not_taken_for_another_one(own: Own) -> None:
    own.run("start", "--time-factor", "0.5")
    assert "--time-factor 0.5; virtlab stop first" in own.run("start", "--time-factor", "1", code=1)
    assert "without the operator; virtlab stop first" in own.run("start", "--installed", code=1)
    own.run("start", "--time-factor", "0.5")


def test_a_damaged_database_is_named(own: Own) -> None:
    own.run("start")
    own.run("stop")
    (own.directory / "objects.sqlite").write_bytes(b"no database" * 1000)
    assert "virtlab reset makes a new one" in own.run("start", code=1)
    own.run("reset")
    own.run("start")


def test_damaged_settings_are_named(own: Own) -> None:
    own.run("start")
    own.run("stop")
    (own.directory / "settings.json").write_text("{")
    assert f"{own.directory}/settings.json is damaged" in own.run("start", code=1)


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("mine")
    tmp_path.chmod(0o755)
    assert "holds other files and no lab" in Own(tmp_path).run("start", code=1)
    assert "not running" in Own(tmp_path).run("status", code=3)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert Own(file).run("start", code=1) == f"virtlab: {file} cannot hold a lab: File exists\n"
    assert Own(file / "below").run("start", code=1) == f"virtlab: {file}/below cannot hold a lab: Not a directory\n"


def test_asking_makes_no_directory(own: Own) -> None:
    for command, code in (("status", 3), ("stop", 0), ("reset", 0), ("kubeconfig", 1), ("fault list", 1)):
        own.run(command, code=code)
        assert not own.directory.exists()


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("start", ("--port", "65536"), "argument --port: 65536 is more than 65535"),
        ("start", ("--port", "-1"), "argument --port: '-1' is no whole number from 0 on"),
        ("start", ("--time-factor", "nan"), "argument --time-factor: 'nan' is no number from 0 on"),
        ("load", ("--vms", "many"), "argument --vms: 'many' is no whole number from 0 on"),
        ("fault add", ("--latency", "-1"), "argument --latency: '-1' is no number from 0 on"),
        ("fault add", ("bogus",), "argument subject: invalid choice: 'bogus'"),
        ("restart", (), "argument COMMAND: invalid choice: 'restart'"),
    ],
)
def test_a_wrong_argument_is_named(own: Own, command: str, arguments: tuple[str, ...], text: str) -> None:
    assert text in own.run(command, *arguments, code=2)


def test_every_command_that_the_readme_shows_runs(own: Own) -> None:
    lines = [line.strip() for line in README.read_text().splitlines() if line.startswith("    virtlab ")]
    assert len(lines) > 20
    own.run("start", "--installed")
    for line in lines:
        _, command, *arguments = shlex.split(line, comments=True)
        if command in ("host", "image"):  # tests/kvm has these: they need root and QEMU
            continue
        if command == "start":
            own.run("stop")
        free = [argument.replace("6443", "0") for argument in arguments]  # that port may be another's
        own.run(command, *free)
        if command == "stop":
            own.run("start")


def test_a_command_that_needs_a_lab_says_so(own: Own) -> None:
    assert "virtlab start" in own.run("fault list", code=1)
