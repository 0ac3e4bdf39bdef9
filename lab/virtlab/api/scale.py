"""The scale subresource: autoscaling/v1 Scale over spec.replicas."""

from __future__ import annotations

from typing import Any

from virtlab.api import negotiation
from virtlab.api.crud import Request, Result, patch_body, patch_kind
from virtlab.api.options import write_options
from virtlab.patches import apply_json_patch, merge
from virtlab.resource import Object, Resource
from virtlab.status import Cause, invalid

SCALE = Resource("autoscaling", "v1", "Scale", "scales", custom=False)
KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(obj: Object) -> Object:
    status: Object = {"replicas": (obj.get("status") or {}).get("replicas", 0)}
    if selector := _selector(obj):
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: obj["metadata"][key] for key in KEPT if key in obj["metadata"]},
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": status,
    }


def _selector(obj: Object) -> str:
    """As text: that of the spec for workloads, the one in status for KubeVirt's sets."""
    labels = ((obj["spec"].get("selector") or {}).get("matchLabels")) or {}
    text = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return str((obj.get("status") or {}).get("labelSelector") or text)


def get(request: Request) -> Result:
    return Result(200, scale_of(request.cluster.get(request.resource, request.target.name, request.namespace)))


def update(request: Request) -> Result:
    body = negotiation.decoded(request.body, request.content_type, request.resource)
    return _written(request, body.value, "UpdateOptions")


def patch(request: Request) -> Result:
    kind = patch_kind(request)
    change, scale = patch_body(request, kind), get(request).object
    scale["metadata"].pop("resourceVersion", None)
    changed = apply_json_patch(scale, change) if kind == "json" else merge(scale, change)
    return _written(request, changed, "PatchOptions")


def _written(request: Request, scale: Any, options_kind: str) -> Result:
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        text = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise invalid(SCALE, request.target.name, [Cause(text, "spec.replicas", "FieldValueInvalid")])
    options = write_options(options_kind, request.query, request.dry_run, request.user_agent)
    change: Object = {"spec": {"replicas": replicas}}
    if version := (scale.get("metadata") or {}).get("resourceVersion"):
        change["metadata"] = {"resourceVersion": version}
    obj, _ = request.cluster.patched(
        request.resource,
        request.target.name,
        request.namespace,
        change,
        "merge",
        user=request.user,
        manager=options.manager,
        dry_run=options.dry_run,
        warnings=request.warnings,
    )
    return Result(200, scale_of(obj))


HANDLERS = {"get": get, "update": update, "patch": patch}
