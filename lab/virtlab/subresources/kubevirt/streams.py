"""console, VNC, USB redirection, vsock and port forwarding: streams over WebSocket.

The checks come before the stream; behind them is the backend of real guests. Played guests have none: a well-formed
request for one gets what the real server answers when it cannot reach it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from virtlab.admission.webhook import at
from virtlab.resource import Object
from virtlab.status import StatusError, bad_request
from virtlab.subresources.kubevirt.backends import Backend, Pipe, backend_of
from virtlab.subresources.kubevirt.request import (
    INSTANCE_NOT_RUNNING,
    condition,
    instance,
    instance_conflict,
    instance_of_machine,
    internal_error,
    on_instance,
    on_machine,
    phase,
)
from virtlab.subresources.registry import Answer, Call

HANDLER_PORT = 8186
REFUSED = "connect: connection refused"


def _device(vmi: Object, name: str) -> object:
    return at(vmi, "spec", "domain", "devices", name)


def _must_run(vmi: Object) -> None:
    if phase(vmi) != "Running":
        raise bad_request(INSTANCE_NOT_RUNNING)


def _handler_unreachable(vmi: Object) -> StatusError:
    node = at(vmi, "status", "nodeName") or ""
    return internal_error(f"Can't connect to websocket: dial tcp {node}:{HANDLER_PORT}: {REFUSED}")


def _backend(call: Call, vmi: Object) -> Backend:
    """Raises what the real server answers where virt-handler cannot be reached, which played guests have none of."""
    backend = backend_of(call.cluster)
    if backend is None:
        raise _handler_unreachable(vmi)
    return backend


def _stream(open_pipe: Callable[[], Awaitable[Pipe]], failed: Callable[[OSError], StatusError]) -> Answer:
    async def opener() -> Pipe:
        try:
            return await open_pipe()
        except OSError as error:
            raise failed(error) from error

    return Answer(stream=opener)


def _reason(error: OSError) -> str:
    """In Go's words, which are the C library's in lower case."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _not_connected(error: OSError) -> StatusError:
    return internal_error(f"Can't connect to websocket: {_reason(error)}")


@on_instance("console", "GET")
def console(call: Call) -> Answer:
    vmi = instance(call)
    if _device(vmi, "autoattachSerialConsole") is False:
        raise bad_request("No serial consoles are present.")
    if phase(vmi) == "Failed":
        raise instance_conflict(call, "VMI is in failed status")
    _must_run(vmi)
    backend = _backend(call, vmi)
    return _stream(lambda: backend.console(vmi), _not_connected)


def _display(call: Call) -> Object:
    vmi = instance(call)
    if _device(vmi, "autoattachGraphicsDevice") is False:
        raise bad_request("No graphics devices are present.")
    _must_run(vmi)
    return vmi


@on_instance("vnc", "GET")
def vnc(call: Call) -> Answer:
    vmi = _display(call)
    backend = _backend(call, vmi)
    return _stream(lambda: backend.vnc(vmi), _not_connected)


@on_instance("vnc/screenshot", "GET")
def screenshot(call: Call) -> Answer:
    vmi = _display(call)
    backend = _backend(call, vmi)

    async def taken() -> Answer:
        try:
            return Answer(200, await backend.screenshot(vmi), "image/png")
        except OSError as error:
            raise _not_connected(error) from error

    return Answer(later=taken)


@on_instance("usbredir", "GET")
def usb_redirection(call: Call) -> Answer:
    vmi = instance(call)
    if at(vmi, "spec", "architecture") == "s390x":
        raise instance_conflict(call, "No USB support on s390x")
    if _device(vmi, "clientPassthrough") is None:
        raise instance_conflict(call, "Not configured with USB Redirection")
    _must_run(vmi)
    raise _handler_unreachable(vmi)


@on_instance("vsock", "GET")
def vsock(call: Call) -> Answer:
    vmi = instance(call)
    if _device(vmi, "autoattachVSOCK") is not True:
        raise bad_request("VSOCK is not attached.")
    _must_run(vmi)
    raise _handler_unreachable(vmi)


def _forward(call: Call, fetch: Callable[[Call], Object]) -> Answer:
    vmi = fetch(call)
    if condition(vmi, "Paused") is not None:
        raise instance_conflict(call, "VMI is paused")
    interfaces = at(vmi, "status", "interfaces")
    if not interfaces:
        raise bad_request("no network interfaces are present")
    port, _, protocol = call.action.removeprefix("portforward/").partition("/")
    protocol = protocol or "tcp"
    if not port.isdecimal():
        raise bad_request(f'failed to parse port: strconv.Atoi: parsing "{port}": invalid syntax')
    address = interfaces[0].get("ipAddress") or ""
    host = f"[{address}]" if ":" in address else address

    def not_dialed(reason: str) -> StatusError:
        return internal_error(f"dialing VM: dial {protocol} {host}:{port}: {reason}")

    backend = backend_of(call.cluster)
    if backend is None:
        raise not_dialed(REFUSED)
    return _stream(
        lambda: backend.dial(vmi, int(port), protocol),
        lambda error: not_dialed(f"connect: {_reason(error)}"),
    )


@on_instance("portforward/*", "GET")
def forward_to_instance(call: Call) -> Answer:
    return _forward(call, instance)


@on_machine("portforward/*", "GET")
def forward_to_machine(call: Call) -> Answer:
    return _forward(call, instance_of_machine)
