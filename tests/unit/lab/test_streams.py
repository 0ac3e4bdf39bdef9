"""Streams of instances, served by the lab and read by the collection's client, over real connections."""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.errors import ClusterError, NotFound
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt import INSTANCE_ACTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_console import read_console
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Task
from played import Played
from virtlab.api.app import Server
from virtlab.daemon import _request
from virtlab.operation import ADMIN
from virtlab.subresources.kubevirt.backends import Pipe, register
from virtlab.subresources.registry import Call, actions

TOKEN = "administrator"


class Machines:
    """Guests whose port 22 is an echo on the loopback interface, and whose console greets and echoes."""

    def __init__(self, echo: int, log: Path) -> None:
        self._echo, self._log = echo, log

    async def console(self, instance: dict[str, Any]) -> Pipe:
        pipe = Pipe(*await asyncio.open_connection("127.0.0.1", self._echo))
        pipe.writer.write(f"console of {instance['metadata']['name']}\r\n".encode())
        return pipe

    def console_log(self, instance: dict[str, Any]) -> Path:
        del instance
        return self._log

    async def vnc(self, instance: dict[str, Any]) -> Pipe:
        return await self.console(instance)

    async def screenshot(self, instance: dict[str, Any]) -> bytes:
        raise OSError(f"{instance['metadata']['name']} has no display")

    async def dial(self, instance: dict[str, Any], port: int, protocol: str) -> Pipe:
        del instance, protocol
        return Pipe(*await asyncio.open_connection("127.0.0.1", self._echo if port == 22 else 1))


@pytest.fixture(scope="module")
def played() -> Played:
    played = Played()
    played.install()
    played.machine("db")
    played.cluster.authenticator.static[TOKEN] = ADMIN
    assert played.printable("db") == "Running"
    return played


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _address = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "console.log"
    path.write_bytes(b"SeaBIOS\r\n\x1b[1mTICK 1\x1b[0m\r\nTICK 2\r\n")
    return path


@pytest.fixture
def client(played: Played, echo: int, log: Path) -> Iterator[Client]:
    register(played.cluster, Machines(echo, log))
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0))

    async def start() -> web.ServerRunner:
        handle = Server(played.cluster).handle
        runner = web.ServerRunner(web.Server(handle, request_factory=functools.partial(_request, loop=loop)))
        await runner.setup()
        await web.SockSite(runner, listener).start()
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield connect({"host": f"http://127.0.0.1:{listener.getsockname()[1]}", "api_key": TOKEN})
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)


def test_a_port_of_the_guest_is_reached_in_both_directions(client: Client) -> None:
    sent = bytes(range(256)) * 4096
    with client.stream(INSTANCE_ACTIONS, "db", "prod", "portforward/22/tcp") as stream:
        writer = threading.Thread(target=stream.write, args=(sent,))
        writer.start()
        got = b""
        while len(got) < len(sent):
            got += stream.read(30)
        writer.join()
    assert got == sent


def test_a_port_that_nothing_listens_on_is_refused_in_virt_apis_words(client: Client) -> None:
    with pytest.raises(ClusterError, match=r"Cannot open portforward/23/tcp of .* dialing VM: dial tcp .*: connect: "):
        client.stream(INSTANCE_ACTIONS, "db", "prod", "portforward/23/tcp")


def test_a_port_of_the_launchers_pod_is_the_guests(played: Played, echo: int, log: Path) -> None:
    register(played.cluster, Machines(echo, log))
    pod = next(item["metadata"]["name"] for item in played.list("pods", "prod") if "-db-" in item["metadata"]["name"])
    resource = played.cluster.resource("pods")
    assert resource is not None
    (forward,) = actions("pods", "portforward")
    dial = forward.handler(Call(played.cluster, resource, "portforward", "GET", "prod", pod)).ports
    assert dial is not None

    async def echoed() -> bytes:
        pipe = await dial(22)
        pipe.writer.write(b"hello")
        heard = await pipe.reader.readexactly(5)
        pipe.writer.close()
        return heard

    assert asyncio.run(echoed()) == b"hello"
    with pytest.raises(OSError, match=r"error forwarding port 23 to pod .*, uid : dial tcp4 127.0.0.1:23: connect: "):
        asyncio.run(dial(23))


def test_a_machine_that_does_not_run_has_no_ports(client: Client) -> None:
    with pytest.raises(NotFound):
        client.stream(INSTANCE_ACTIONS, "gone", "prod", "portforward/22/tcp")


def test_a_read_that_nothing_comes_for_ends_at_its_time(client: Client) -> None:
    with client.stream(INSTANCE_ACTIONS, "db", "prod", "portforward/22/tcp") as stream:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            stream.read(0.2)
        assert time.monotonic() - started < 10


def console(client: Client, **options: Any) -> dict[str, Any]:
    given = {"name": "db", "namespace": "prod", "pattern": None, "tail": None, "wait_timeout": 5, **options}
    return read_console(client, Task(given))


def test_what_the_console_said_is_told_without_its_colours(client: Client) -> None:
    assert console(client)["lines"] == ["SeaBIOS", "TICK 1", "TICK 2"]
    assert console(client, tail=1)["log"] == "TICK 2\n"
    assert console(client, tail=0)["lines"] == []
    assert console(client)["source"] == "log"


def test_a_pattern_is_waited_for_as_the_log_grows(client: Client, log: Path) -> None:
    def grow() -> None:
        with log.open("ab") as file:
            file.write(b"login: ")

    timer = threading.Timer(0.5, grow)
    timer.start()
    heard = console(client, pattern="^login:", wait_timeout=30)
    timer.join()
    assert heard["match"] == "login:"


def test_a_pattern_that_does_not_come_fails_with_what_was_said_last(client: Client) -> None:
    with pytest.raises(Failure, match=r'(?s)did not say "login:", not within 1 seconds\. .* last: .*TICK 2'):
        console(client, pattern="login:", wait_timeout=1)


def test_where_no_log_is_kept_the_console_itself_is_listened_to(client: Client, played: Played) -> None:
    devices = {"disks": [{"name": "root", "disk": {"bus": "virtio"}}], "logSerialConsole": False}
    played.machine("quiet", template={"domain": {"devices": devices}, "networks": []})
    heard = console(client, name="quiet", pattern="console of quiet", wait_timeout=30)
    assert heard["source"] == "stream"


def test_what_is_no_regular_expression_is_refused(client: Client) -> None:
    with pytest.raises(Failure, match="is no regular expression"):
        console(client, pattern="(")
    with pytest.raises(Failure, match="wait_timeout: 0"):
        console(client, wait_timeout=0)
