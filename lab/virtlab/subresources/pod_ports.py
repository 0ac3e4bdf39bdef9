"""C(pods/portforward). In played pods nothing listens, except for the servers of exports and for real guests."""

from __future__ import annotations

import asyncio

from virtlab.controllers.kubevirt.exports import SERVER_PORT, SERVICE_LABEL, service_name
from virtlab.controllers.kubevirt.names import CREATED_BY, VMIS
from virtlab.datapath.volumes import Forwarded
from virtlab.resource import Object
from virtlab.subresources.kubevirt.backends import Pipe, backend_of
from virtlab.subresources.registry import Answer, Call, action


@action("pods", "portforward", "GET", "POST", kind="PodPortForwardOptions")
def forward(call: Call) -> Answer:
    """Raises a 404 without the pod."""
    pod = call.cluster.get(call.resource, call.name, call.namespace)

    async def dial(port: int) -> Pipe:
        try:
            return await _dial(call, pod, port)
        except OSError as error:
            uid = pod["metadata"]["uid"]
            why = f"dial tcp4 127.0.0.1:{port}: connect: {str(error) or 'connection refused'}"
            raise OSError(f"error forwarding port {port} to pod {uid}, uid : {why}") from error

    return Answer(ports=dial)


async def _dial(call: Call, pod: Object, port: int) -> Pipe:
    labels = pod["metadata"].get("labels") or {}
    volumes, export = call.cluster.volumes, labels.get(SERVICE_LABEL)
    if export and port == SERVER_PORT and volumes is not None and volumes.export_host:
        host, _, number = volumes.export_host.rpartition(":")
        pipe = Pipe(*await asyncio.open_connection(host, int(number)))
        # All exports have one server here, which tells by the client's address whose pod it is to be.
        client = pipe.writer.get_extra_info("sockname")[1]
        namespace = pod["metadata"]["namespace"]
        volumes.export_clients[client] = Forwarded(namespace, service_name(export), pipe.writer)
        return pipe
    backend, resource = backend_of(call.cluster), call.cluster.resource(VMIS)
    if backend is not None and resource is not None and labels.get(CREATED_BY):
        for vmi in call.cluster.list(resource, call.namespace):
            if vmi["metadata"]["uid"] == labels[CREATED_BY]:
                return await backend.dial(vmi, port, "tcp")
    raise ConnectionRefusedError("connection refused")
