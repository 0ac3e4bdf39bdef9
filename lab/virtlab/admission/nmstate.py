"""NodeNetworkConfigurationPolicy: what nmstate's webhook fills in and its admission policy refuses."""

from __future__ import annotations

import time

import orjson

from virtlab.admission.registry import mutating, validating
from virtlab.admission.webhook import at, failed, items, unchanged
from virtlab.names import label_value_problems
from virtlab.operation import SYSTEM, Operation
from virtlab.status import Cause, StatusError

RESOURCE = "nodenetworkconfigurationpolicies.nmstate.io"
MUTATOR = "nodenetworkconfigurationpolicies-mutate.nmstate.io"
POLICY = "nncp-validation-policy"
TIMESTAMP = "nmstate.io/webhook-mutating-timestamp"
MAX_NAME = 63


@mutating(RESOURCE, "CREATE", "UPDATE")
def stamp(operation: Operation) -> None:
    policy = operation.object
    assert policy is not None
    most = at(policy, "spec", "maxUnavailable")
    if isinstance(most, dict | list | bool):
        kind = "array" if isinstance(most, list) else "bool" if isinstance(most, bool) else "object"
        why = (
            f"json: cannot unmarshal {kind} into Go struct field "
            "NodeNetworkConfigurationPolicySpec.spec.maxUnavailable of type int32"
        )
        raise failed(MUTATOR, f"failed decoding policy: {orjson.dumps(policy).decode()}: {why}", 500)
    if operation.verb == "CREATE" or not unchanged(operation):
        metadata = policy["metadata"]
        metadata["annotations"] = {**(metadata.get("annotations") or {}), TIMESTAMP: str(time.time_ns())}


def _refuse(operation: Operation, why: str, code: int, reason: str) -> StatusError:
    resource = operation.resource
    message = f"ValidatingAdmissionPolicy '{POLICY}' with binding '{POLICY}-binding' denied request: {why}"
    details = {"name": operation.name, "group": resource.group, "kind": resource.plural}
    text = f'{resource.qualified} "{operation.name}" is forbidden: {message}'
    return StatusError(code, text, reason, details, (Cause(message),))


@validating(RESOURCE, "CREATE", "UPDATE")
def check(operation: Operation) -> None:
    policy = operation.object
    assert policy is not None
    name = operation.name
    if len(name) > MAX_NAME or label_value_problems(name):
        why = f'invalid policy name: "{name}": must be no more than {MAX_NAME} characters or match label value format'
        raise _refuse(operation, why, 422, "Invalid")
    selector = at(policy, "spec", "nodeSelector") or {}
    if any(label_value_problems(value) for value in selector.values()):
        raise _refuse(operation, "nodeSelector values must be valid label values", 422, "Invalid")
    if operation.verb == "UPDATE" and operation.user.name != SYSTEM.name and not unchanged(operation):
        progressing = any(
            condition["type"] == "Progressing" and condition["status"] == "True"
            for condition in items(operation.old, "status", "conditions")
        )
        if progressing:
            raise _refuse(operation, f"policy {name} is still in progress", 403, "Forbidden")
