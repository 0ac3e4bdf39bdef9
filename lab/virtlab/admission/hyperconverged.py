"""HyperConverged and its namespace: what the hyperconverged-cluster-operator's webhooks and policy refuse."""

from __future__ import annotations

import json
import re

from virtlab.admission.kubevirt.settings import NAMESPACE
from virtlab.admission.registry import validating
from virtlab.admission.webhook import at
from virtlab.operation import SYSTEM, Operation
from virtlab.resource import Object
from virtlab.status import Cause, StatusError, denied

RESOURCE = "hyperconvergeds.hco.kubevirt.io"
STORED = ("hco.kubevirt.io", "hyperconvergeds")
NAMESPACE_WEBHOOK = "mutate-ns-hco.kubevirt.io"
POLICY = "hyperconverged-namespace-policy"
SHORTEST_CERTIFICATE = 600.0  # seconds
DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|ns|m|s)")
SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
DEFAULT_DURATIONS = {("ca", "duration"): "48h0m0s", ("ca", "renewBefore"): "24h0m0s",
                     ("server", "duration"): "24h0m0s", ("server", "renewBefore"): "12h0m0s"}  # fmt: skip
TLS_VERSIONS = ("VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13")
HTTP2_CIPHERS = ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256")
IMPORT_ENABLED = "dataimportcrontemplate.kubevirt.io/enable"
PATCH_ANNOTATIONS = tuple(
    f"{component}.kubevirt.io/jsonpatch"
    for component in ("kubevirt", "containerizeddataimporter", "networkaddonsconfigs", "ssp")
)
PATCH_OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")
OPERANDS = (("kubevirts.kubevirt.io", NAMESPACE), ("cdis.cdi.kubevirt.io", None))


def webhook(operation: Operation) -> str:
    return "validate-hco.kubevirt.io" if operation.resource.version == "v1" else "validate-hco-v1beta1.kubevirt.io"


def seconds(duration: str) -> float:
    """A Go duration, C(24h0m0s), in seconds."""
    return sum(float(number) * SECONDS[unit] for number, unit in DURATION.findall(duration))


@validating(RESOURCE, "CREATE", "UPDATE")
def check(operation: Operation) -> None:
    hyperconverged = operation.object
    assert hyperconverged is not None
    if operation.verb == "CREATE":
        _check_namespace(operation)
    if operation.user.name == SYSTEM.name and operation.verb == "UPDATE":
        return
    before = operation.old or {}
    annotations = hyperconverged["metadata"].get("annotations") or {}
    same = hyperconverged.get("spec") == before.get("spec") and annotations == (
        at(before, "metadata", "annotations") or {}
    )
    if operation.verb == "UPDATE" and same:
        return
    problem = spec_problem(hyperconverged) or _patch_problem(annotations)
    if problem:
        raise denied(webhook(operation), problem, code=403, reason="Forbidden")


def _check_namespace(operation: Operation) -> None:
    if operation.namespace == NAMESPACE:
        return
    text = f"HyperConverged CR can only be created in the '{NAMESPACE}' namespace."
    message = f"ValidatingAdmissionPolicy '{POLICY}' with binding '{POLICY}-binding' denied request: {text}"
    resource, name = operation.resource, operation.name
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    full = f'{resource.qualified} "{name}" is forbidden: {message}'
    raise StatusError(422, full, "Invalid", details, (Cause(message),))


def _setting(spec: Object, *path: str) -> object:
    """A setting that v1 keeps under C(security) and v1beta1 at the top."""
    found = at(spec, "security", *path)
    return at(spec, *path) if found is None else found


def spec_problem(hyperconverged: Object) -> str | None:
    spec = hyperconverged.get("spec") or {}
    return _certificate_problem(spec) or _import_problem(spec) or _tls_problem(spec)


def _certificate_problem(spec: Object) -> str | None:
    values = {
        path: seconds(str(_setting(spec, "certConfig", *path) or default))
        for path, default in DEFAULT_DURATIONS.items()
    }
    for (part, name), value in values.items():
        if value < SHORTEST_CERTIFICATE:
            return f"spec.certConfig.{part}.{name}: value is too small"
    for part in ("ca", "server"):
        if values[part, "duration"] < values[part, "renewBefore"]:
            return f"spec.certConfig.{part}: duration is smaller than renewBefore"
    if values["ca", "duration"] < values["server", "duration"]:
        return "spec.certConfig: ca.duration is smaller than server.duration"
    return None


def _import_problem(spec: Object) -> str | None:
    templates = at(spec, "workloadSources", "dataImportCronTemplates") or spec.get("dataImportCronTemplates") or ()
    for template in templates:
        enabled = str((at(template, "metadata", "annotations") or {}).get(IMPORT_ENABLED, "true")).lower()
        if enabled not in ("true", "false"):
            return f'the {IMPORT_ENABLED} annotation of a dataImportCronTemplate must be either "true" or "false"'
        if enabled == "true" and template.get("spec") is None:
            return "dataImportCronTemplate spec is empty for an enabled DataImportCronTemplate"
    return None


def _tls_problem(spec: Object) -> str | None:
    profile = _setting(spec, "tlsSecurityProfile")
    if not isinstance(profile, dict):
        return None
    custom = profile.get("custom")
    if custom is None:
        missing = "missing required field spec.tlsSecurityProfile.custom when type is Custom"
        return missing if profile.get("type") == "Custom" else None
    version, ciphers = custom.get("minTLSVersion") or "", custom.get("ciphers") or []
    if version not in TLS_VERSIONS:
        return f'invalid value for spec.tlsSecurityProfile.custom.minTLSVersion: "{version}"'
    if version != "VersionTLS13" and not set(HTTP2_CIPHERS) & set(ciphers):
        return (
            "http2: TLSConfig.CipherSuites is missing an HTTP/2-required AES_128_GCM_SHA256 cipher (need at least one "
            "of ECDHE-RSA-AES128-GCM-SHA256 or ECDHE-ECDSA-AES128-GCM-SHA256)"
        )
    if version == "VersionTLS13" and ciphers:
        return "custom ciphers cannot be selected when minTLSVersion is VersionTLS13"
    return None


def _is_patch(item: object) -> bool:
    """One operation of a JSON patch that stays within the operand's spec."""
    return isinstance(item, dict) and item.get("op") in PATCH_OPERATIONS and str(item.get("path")).startswith("/spec/")


def _patch_problem(annotations: Object) -> str | None:
    for name in PATCH_ANNOTATIONS:
        text = annotations.get(name)
        if not text:
            continue
        try:
            operations = json.loads(text)
        except ValueError:
            operations = None
        if not isinstance(operations, list) or not all(_is_patch(item) for item in operations):
            return f"invalid jsonPatch in the {name} annotation: invalid state detected"
    return None


@validating(RESOURCE, "DELETE")
def check_uninstall(operation: Operation) -> None:
    """Deletes the operands in a dry run first: their own webhooks say what stands in the way."""
    for qualified, namespace in OPERANDS:
        resource = operation.cluster.resource(qualified)
        if resource is None:
            continue
        for obj in operation.cluster.list(resource, namespace):
            try:
                operation.cluster.delete(
                    resource, obj["metadata"]["name"], namespace, dry_run=True, user=operation.user
                )
            except StatusError as error:
                raise denied(
                    "validate-hco.kubevirt.io",
                    error.message,
                    code=error.code,
                    reason=error.reason,
                    details=error.details,
                ) from error


@validating("namespaces", "DELETE")
def keep_namespace(operation: Operation) -> None:
    if operation.name == NAMESPACE and operation.cluster.store.entries(STORED, NAMESPACE):
        message = "HyperConverged CR is still present, please remove it before deleting the containing hcoNamespace"
        raise denied(NAMESPACE_WEBHOOK, message, code=403, reason="Forbidden")
