"""The ports beside the API server's: where images are uploaded and exports are read. Loopback only, TLS only."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from virtlab.certificates import Authority
from virtlab.datapath.export_server import ExportServer
from virtlab.datapath.upload_proxy import UploadProxy
from virtlab.state import State

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

ADDRESS = "127.0.0.1"
BUFFER = 1 << 20  # bytes that are taken in ahead of who reads them
GRACE = 0.5  # seconds that connections get at the end
KEEP_ALIVE = 300.0  # seconds
SERVICE = re.compile(r"^virt-export-[^./]+\.[^./]+\.svc$")


def bound(port: int) -> socket.socket:
    """A loopback socket on that port, or on a free one where it is taken or 0."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
    except OSError:
        listener.bind((ADDRESS, 0))
    listener.listen(128)
    return listener


@dataclass
class Sites:
    """The sockets of one lab, taken before anything is served, so that their ports can be told."""

    upload: socket.socket
    export: socket.socket

    @classmethod
    def open(cls, state: State) -> Sites:
        """Ports are kept for the next start where they can be."""
        settings = state.settings
        sites = cls(bound(settings.upload_port), bound(settings.export_port))
        settings.upload_port = sites.upload.getsockname()[1]
        settings.export_port = sites.export.getsockname()[1]
        state.settings = settings
        return sites

    async def start(self, state: State, cluster: Cluster) -> list[web.AppRunner]:
        """Serve; the runners are to be cleaned up in the end."""
        volumes = cluster.volumes
        assert volumes is not None
        volumes.upload_host = _host(self.upload)
        upload_context = state.authority.serving_context(
            "cdi-uploadproxy", "cdi-uploadproxy.openshift-cnv.svc", "cdi-uploadproxy-openshift-cnv.apps.lab"
        )
        authority = export_authority(state)
        volumes.export_host = _host(self.export)
        volumes.export_ca = authority.pem
        return [
            await _serve(UploadProxy(cluster, volumes).application(), self.upload, upload_context),
            await _serve(ExportServer(cluster, volumes).application(), self.export, export_context(authority)),
        ]


def export_authority(state: State) -> Authority:
    """Exports are certified by an authority of their own, which their links tell."""
    directory = state.directory / "export-ca"
    directory.mkdir(mode=0o700, exist_ok=True)
    return Authority(directory, "export.kubevirt.io")


def export_context(authority: Authority) -> ssl.SSLContext:
    """TLS with a certificate for the name that a client asks for, where it is the service of an export."""
    context = authority.serving_context("virt-exportproxy", "virt-exportproxy.openshift-cnv.svc")
    known: dict[str, ssl.SSLContext] = {}

    def choose(connection: ssl.SSLObject, name: str | None, default: ssl.SSLContext) -> None:
        if name and SERVICE.match(name):
            if name not in known:
                known[name] = authority.serving_context("virt-export", name, kept=False)
            connection.context = known[name]

    context.sni_callback = choose
    return context


def _host(listener: socket.socket) -> str:
    return f"{ADDRESS}:{listener.getsockname()[1]}"


async def _serve(application: web.Application, listener: socket.socket, context: ssl.SSLContext) -> web.AppRunner:
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=KEEP_ALIVE, read_bufsize=BUFFER)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=context, shutdown_timeout=GRACE).start()
    return runner
