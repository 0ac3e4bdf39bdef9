"""The server process: one cluster assembled from its parts, its controllers, HTTP in front."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from virtlab import installation
from virtlab.api.app import BODY_LIMIT, Server
from virtlab.assembly import assemble
from virtlab.cluster import Cluster
from virtlab.datapath.sites import Sites
from virtlab.guests import choice
from virtlab.hosts.requirements import HostError
from virtlab.state import State

log = logging.getLogger(__name__)

FLUSH_EVERY = 0.25  # seconds: what a crash may lose
KEEP_ALIVE = 300.0  # seconds
GRACE = 0.5  # seconds that connections get at the end


class CannotServe(Exception):
    """What keeps the server from starting, and what to do about it."""


def listen(port: int) -> socket.socket:
    """A loopback socket on C(port), or on a free one for 0; raises CannotServe."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise CannotServe(f"port {port} cannot be used ({error.strerror}); choose another one with --port") from None
    listener.listen(512)
    return listener


def serve(directory: Path, ready: Callable[[], None], *, install: bool = False) -> None:
    """Run the lab of C(directory) until SIGTERM; C(ready) is called once requests are answered. Raises CannotServe."""
    state = State(directory)
    try:
        state.claim()
    except BlockingIOError:
        raise CannotServe(f"a lab runs already in {directory}") from None
    settings = state.settings
    listener = listen(settings.port)
    settings.port = listener.getsockname()[1]
    state.settings = settings
    state.write_kubeconfig()
    sites = Sites.open(state)
    try:
        nodes = choice.open_nodes(state)
    except HostError as error:
        raise CannotServe(str(error)) from None
    try:
        asyncio.run(_run(state, listener, sites, nodes, ready, install))
    finally:
        if nodes is not None:
            nodes.stop()


async def _run(
    state: State,
    listener: socket.socket,
    sites: Sites,
    nodes: choice.Running | None,
    ready: Callable[[], None],
    install: bool,
) -> None:
    try:
        cluster, manager = assemble(state, nodes.prepare if nodes is not None else choice.explain(state))
    except HostError as error:
        raise CannotServe(str(error)) from None
    except sqlite3.DatabaseError as error:
        raise CannotServe(f"{state.database} cannot be used ({error}); virtlab reset makes a new one") from None
    gc.freeze()  # what is there now stays: no collection needs to look at it again
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    api = Server(cluster)
    server = web.Server(
        api.handle,
        request_factory=functools.partial(_request, loop=loop),
        keepalive_timeout=KEEP_ALIVE,
        access_log=None,
    )
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.SockSite(runner, listener, ssl_context=state.authority.server_context(), shutdown_timeout=GRACE)
    await site.start()
    others = await sites.start(state, cluster)
    resumed = bool(cluster.store.count(("", "nodes")))
    if resumed and not install:
        ready()  # controllers take seconds to take in a full lab; requests are answered from what is there
    manager.start()
    flushing = loop.create_task(_flush(cluster))
    if install:
        try:
            await installation.install(cluster)
        except TimeoutError:
            log.error("the operator is not ready after %s seconds; see its conditions", installation.PATIENCE)
    if install or not resumed:
        ready()
    log.info("serving %s", state.url)
    await stop.wait()
    for watch in tuple(api.watches):
        watch.end()
    await manager.stop()
    flushing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await flushing
    for other in (runner, *others):
        await other.cleanup()
    cluster.store.close()
    log.info("stopped")


def _request(
    message: object, payload: object, protocol: object, writer: object, task: object, *, loop: asyncio.AbstractEventLoop
) -> web.BaseRequest:
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)  # type: ignore[arg-type]


async def _flush(cluster: Cluster) -> None:
    while True:
        await asyncio.sleep(FLUSH_EVERY)
        try:
            cluster.store.flush()
        except sqlite3.Error as error:
            log.error("nothing can be written to the database: %s", error)


def detach(state: State) -> None:
    """Make this process a daemon's: no terminal, output into the log."""
    null = os.open(os.devnull, os.O_RDWR)
    output = os.open(state.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
