"""console, VNC, USB redirection, vsock and port forwarding: streams over WebSocket.

The checks come before the stream; behind them is a backend, which the lab's guests do not have: a well-formed request
gets what the real server answers when it cannot reach it.
"""

from __future__ import annotations

from collections.abc import Callable

from virtlab.admission.webhook import at
from virtlab.resource import Object
from virtlab.status import bad_request
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


def _handler_unreachable(vmi: Object) -> Exception:
    node = at(vmi, "status", "nodeName") or ""
    return internal_error(f"Can't connect to websocket: dial tcp {node}:{HANDLER_PORT}: {REFUSED}")


@on_instance("console", "GET")
def console(call: Call) -> Answer:
    vmi = instance(call)
    if _device(vmi, "autoattachSerialConsole") is False:
        raise bad_request("No serial consoles are present.")
    if phase(vmi) == "Failed":
        raise instance_conflict(call, "VMI is in failed status")
    _must_run(vmi)
    raise _handler_unreachable(vmi)


def _display(call: Call) -> Object:
    vmi = instance(call)
    if _device(vmi, "autoattachGraphicsDevice") is False:
        raise bad_request("No graphics devices are present.")
    _must_run(vmi)
    return vmi


@on_instance("vnc", "GET")
def vnc(call: Call) -> Answer:
    raise _handler_unreachable(_display(call))


@on_instance("vnc/screenshot", "GET")
def screenshot(call: Call) -> Answer:
    raise _handler_unreachable(_display(call))


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
    address = interfaces[0].get("ipAddress") or ""
    host = f"[{address}]" if ":" in address else address
    raise internal_error(f"dialing VM: dial {protocol or 'tcp'} {host}:{port}: {REFUSED}")


@on_instance("portforward/*", "GET")
def forward_to_instance(call: Call) -> Answer:
    return _forward(call, instance)


@on_machine("portforward/*", "GET")
def forward_to_machine(call: Call) -> Answer:
    return _forward(call, instance_of_machine)
