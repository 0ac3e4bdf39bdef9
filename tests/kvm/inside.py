"""How tests look into the real guests of a lab, past its API server."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from labs import Lab
from virtlab.hosts.fleet import Hosts

PATIENCE = 120.0  # seconds


def until(seen: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """What C(seen) returns once it is true."""
    end = time.monotonic() + timeout
    while not (value := seen()):
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.1)
    return value


def domain_of(lab: Lab, namespace: str, name: str) -> Any:
    """The libvirt domain of an instance, on the node where the instance is."""
    libvirt = pytest.importorskip("libvirt")
    place = f"/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{name}"
    node = Hosts(lab.directory / "hosts")[json.loads(lab.ask("GET", place))["status"]["nodeName"]]
    return libvirt.open(node.uri).lookupByName(f"{namespace}_{name}")


def ask_guest(domain: Any, command: str) -> str:
    """What a shell command says that the guest's agent runs."""
    libvirt_qemu = pytest.importorskip("libvirt_qemu")

    def ask(execute: str, **arguments: Any) -> Any:
        text = json.dumps({"execute": execute, "arguments": arguments})
        return json.loads(libvirt_qemu.qemuAgentCommand(domain, text, 20, 0))["return"]

    begun = ask("guest-exec", path="/bin/sh", arg=["-c", command], **{"capture-output": True})
    done = until(lambda: (state := ask("guest-exec-status", pid=begun["pid"]))["exited"] and state, command)
    return base64.b64decode(done.get("out-data", "")).decode()
