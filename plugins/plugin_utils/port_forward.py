# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that connects its standard input and output with a port of a guest, through the API server.

ssh runs it as its C(ProxyCommand): C(python -m ...port_forward VARIABLE), where the environment variable holds which
machine, port and cluster are meant, as JSON. What goes wrong is said on standard error, and in a file.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.errors import ClusterError, NotFound
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.cluster.stream import Stream
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt import INSTANCE_ACTIONS
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

_CHUNK = 64 * 1024
# What a kept connection says when its guest went away.
_FAILED = 255


def main() -> int:
    """Forward until either side ends; the exit status."""
    wish = json.loads(os.environ[sys.argv[1]])
    given = {name: value for name, value in wish["cluster"].items() if value is not None}
    checked = ArgumentSpecValidator(dict(CONNECTION_OPTIONS)).validate(given)
    label = f"{wish['namespace']}/{wish['name']}"
    complaint = Path(wish["complaint"])
    try:
        if checked.error_messages:
            raise Failure("; ".join(checked.error_messages))
        client = connect(checked.validated_parameters)
        subresource = f"portforward/{wish['port']}/tcp"
        with client.stream(INSTANCE_ACTIONS, wish["name"], wish["namespace"], subresource) as stream:
            _pump(stream)
    except NotFound:
        return _fail(
            complaint, f"The machine {label} does not run, or does not exist. Start it, with virtstack.core.vm_power."
        )
    except ClusterError as error:
        return _fail(complaint, f"{error.message}{_advice(error, wish['port'])}")
    except Failure as failure:
        return _fail(complaint, failure.message)
    return 0


def _advice(error: ClusterError, port: int) -> str:
    if "refused" in error.server_message:
        return f" Nothing listens on port {port} of the guest: is it still booting, and does its SSH server run?"
    if "no route" in error.server_message or "timeout" in error.server_message or "timed out" in error.server_message:
        return " The guest does not answer on its network: is it still booting?"
    return ""


def _fail(complaint: Path, text: str) -> int:
    """Say why there is no connection, on standard error and in the file that the connection plugin reads."""
    sys.stderr.write(f"{text}\n")
    with suppress(OSError):
        complaint.touch(mode=0o600)
        complaint.write_text(text)
    return _FAILED


def _pump(stream: Stream) -> None:
    sender = threading.Thread(target=_send, args=(stream,), daemon=True)
    sender.start()
    output = sys.stdout.buffer
    while data := stream.read():
        output.write(data)
        output.flush()


def _send(stream: Stream) -> None:
    descriptor = sys.stdin.fileno()
    # A stream that is lost ends the reading side, too, which says so.
    with suppress(ClusterError):
        while data := os.read(descriptor, _CHUNK):
            stream.write(data)
    stream.close()


if __name__ == "__main__":
    sys.exit(main())
