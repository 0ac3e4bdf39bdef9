"""C(pods/log). Played containers say nothing; what a real guest says on its serial console is the log of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from virtlab.controllers.kubevirt.launchers import CONSOLE_LOG
from virtlab.controllers.kubevirt.names import CREATED_BY, VMIS
from virtlab.resource import Object
from virtlab.status import bad_request
from virtlab.subresources.kubevirt.backends import backend_of
from virtlab.subresources.registry import Answer, Call, action

FOLLOW_EVERY = 0.2  # seconds between two looks at a log that grows
CHUNK = 64 * 1024


@action("pods", "log", "GET", kind="Pod")
def log(call: Call) -> Answer:
    """Raises a 404 without the pod, a 400 without the container."""
    pod = call.cluster.get(call.resource, call.name, call.namespace)
    container = _container(pod, call.query.get("container", ""))
    path = _console(call, pod) if container == CONSOLE_LOG else None
    if path is None:
        return Answer(200, "", "text/plain")
    lines = call.query.get("tailLines")
    return Answer(chunks=_chunks(call, pod, path, int(lines) if lines else None, call.query.get("follow") == "true"))


def _container(pod: Object, wanted: str) -> str:
    name = pod["metadata"]["name"]
    known = [item["name"] for item in (pod["spec"].get("initContainers") or [])]
    main = [item["name"] for item in pod["spec"]["containers"]]
    if not wanted and len(main) == 1 and not known:
        return str(main[0])
    if not wanted:
        choice = f"[{' '.join(main)}]" + (f" or one of the init containers: [{' '.join(known)}]" if known else "")
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: {choice}")
    if wanted not in main + known:
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    return wanted


def _console(call: Call, pod: Object) -> Path | None:
    backend, uid = backend_of(call.cluster), (pod["metadata"].get("labels") or {}).get(CREATED_BY)
    resource = call.cluster.resource(VMIS)
    if backend is None or uid is None or resource is None:
        return None
    found = [vmi for vmi in call.cluster.list(resource, call.namespace) if vmi["metadata"]["uid"] == uid]
    return backend.console_log(found[0]) if found else None


async def _chunks(call: Call, pod: Object, path: Path, tail: int | None, follow: bool) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        if tail is not None:
            file.seek(_start_of_tail(path, tail))
        while True:
            if data := file.read(CHUNK):
                yield data
            elif not follow or call.cluster.find(call.resource, pod["metadata"]["name"], call.namespace) is None:
                return
            else:
                await asyncio.sleep(FOLLOW_EVERY)
                yield b""  # a look at whether anybody still listens


def _start_of_tail(path: Path, lines: int) -> int:
    """Where the last C(lines) lines begin."""
    data = path.read_bytes()
    position = len(data) - data.endswith(b"\n")
    if lines == 0:
        return len(data)
    for _line in range(lines):
        position = data.rfind(b"\n", 0, position)
        if position < 0:
            return 0
    return position + 1
