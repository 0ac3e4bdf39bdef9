"""What CDI's API server fills in and refuses: pkg/apiserver/webhooks of the containerized-data-importer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from virtlab.admission.kubevirt.amounts import amount
from virtlab.admission.registry import mutating, validating
from virtlab.admission.webhook import DUPLICATE, INVALID, at, deleting, failed, unchanged
from virtlab.auth.attributes import Attributes
from virtlab.operation import Operation
from virtlab.resource import Object
from virtlab.status import Cause, denied

GROUP = "cdi.kubevirt.io"
DATA_VOLUME_MUTATOR = "datavolume-mutate.cdi.kubevirt.io"
DATA_VOLUME_VALIDATOR = "datavolume-validate.cdi.kubevirt.io"
CRON_VALIDATOR = "dataimportcron-validate.cdi.kubevirt.io"
POPULATOR_VALIDATOR = "populator-validate.cdi.kubevirt.io"
TRANSFER_VALIDATOR = "objecttransfer-validate.cdi.kubevirt.io"
CDI_VALIDATOR = "cdi-validate.cdi.kubevirt.io"

CLONE_TOKEN = "cdi.kubevirt.io/storage.clone.token"
CLONE_TOKEN_SECONDS = 300
TOKENLESS = ("cdi.kubevirt.io/storage.prePopulated", "cdi.kubevirt.io/storage.checkStaticVolume")
CRON_LABEL = "cdi.kubevirt.io/dataImportCron"
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
CONTENT_TYPES = ("kubevirt", "archive")
MAX_SUBDOMAIN, MAX_LABEL = 253, 63
SMALLEST_VOLUME = 1 << 20  # bytes
URL_SOURCES = {"http": "HTTP", "s3": "S3", "gcs": "GCS", "imageio": "ImageIO", "vddk": "VDDK"}
CHECKSUMS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}  # hexadecimal digits
CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
CRON_NAMES = {"month": "jan feb mar apr may jun jul aug sep oct nov dec", "day": "sun mon tue wed thu fri sat"}

Found = Iterator[Cause]


def reject(webhook: str, causes: Iterator[Cause] | list[Cause]) -> None:
    """Raises the 422 of CDI's webhooks, which have no reason and a blank before each message; passes without causes."""
    found = tuple(causes)
    if found:
        raise denied(webhook, "".join(f" {cause.message}" for cause in found), code=422, causes=found)


def _name_length(name: str, limit: int) -> Found:
    if len(name) > limit:
        yield Cause(f"Name cannot be longer than {limit} characters", None, INVALID)


# DataVolume


@mutating("datavolumes.cdi.kubevirt.io", "CREATE", "UPDATE")
def authorize_clone(operation: Operation) -> None:
    """A clone needs the right to read its source; a new one gets the token that proves it."""
    volume = operation.object
    assert volume is not None
    if deleting(operation):
        return
    annotations = volume["metadata"].get("annotations") or {}
    source = _clone_source(operation, volume.get("spec") or {}, optional=any(key in annotations for key in TOKENLESS))
    if source is None:
        return
    resource, namespace, name = source
    if not _may_clone(operation, namespace):
        if any(key in annotations for key in TOKENLESS):
            return
        message = f"User {operation.user.name} has insufficient permissions in clone source namespace {namespace}"
        reject(DATA_VOLUME_MUTATOR, [Cause(message, "spec.source.PVC.namespace", INVALID)])
    if operation.verb == "CREATE":
        token = _clone_token(operation, resource, namespace, name)
        volume["metadata"]["annotations"] = {**annotations, CLONE_TOKEN: token}


def _clone_source(operation: Operation, spec: Object, *, optional: bool) -> tuple[str, str, str] | None:
    """(resource, namespace, name) of what is cloned; None when nothing is. Raises 400 for what is not there."""
    source, reference = spec.get("source") or {}, spec.get("sourceRef")
    here = operation.namespace or ""
    if reference and reference.get("kind") == "DataSource":
        home, name = reference.get("namespace") or here, reference.get("name") or ""
        entry = operation.cluster.store.find((GROUP, "datasources"), home, name)
        if entry is None:
            if optional:
                return None
            raise failed(DATA_VOLUME_MUTATOR, f'datasources.cdi.kubevirt.io "{name}" not found')
        source, here = at(entry.object, "spec", "source") or {}, home
    for kind, resource in (("pvc", "persistentvolumeclaims"), ("snapshot", "volumesnapshots")):
        wanted = source.get(kind)
        if wanted:
            namespace = wanted.get("namespace") or here
            if operation.cluster.store.find(("", "namespaces"), None, namespace) is None:
                if optional:
                    return None
                raise failed(DATA_VOLUME_MUTATOR, f'namespaces "{namespace}" not found')
            return resource, namespace, wanted.get("name") or ""
    return None


def _may_clone(operation: Operation, namespace: str) -> bool:
    if namespace == operation.namespace:
        return True
    wanted = (
        Attributes("create", GROUP, "", "datavolumes", "source", namespace),
        Attributes("create", resource="pods", namespace=namespace),
    )
    return any(operation.cluster.authorizer.allowed(operation.user, attributes).allowed for attributes in wanted)


def _clone_token(operation: Operation, resource: str, namespace: str, name: str) -> str:
    cluster = operation.cluster
    now = int(cluster.clock.now().timestamp())
    claims = {
        "exp": now + CLONE_TOKEN_SECONDS,
        "iat": now,
        "iss": "cdi-apiserver",
        "name": name,
        "namespace": namespace,
        "nbf": now,
        "operation": "Clone",
        "params": {"targetName": operation.name, "targetNamespace": operation.namespace},
        "resource": {"group": "", "resource": resource, "version": "v1"},
    }
    return cluster.authenticator.tokens.sign(claims)


@validating("datavolumes.cdi.kubevirt.io", "CREATE", "UPDATE")
def check_data_volume(operation: Operation) -> None:
    volume = operation.object
    assert volume is not None
    spec = volume.get("spec") or {}
    if operation.verb == "UPDATE" and not unchanged(operation) and not _next_stage(operation):
        message = "Cannot update DataVolume Spec"
        reject(DATA_VOLUME_VALIDATOR, [Cause(message, "DataVolume.Spec", DUPLICATE)])
    reject(DATA_VOLUME_VALIDATOR, _name_length(operation.name, MAX_SUBDOMAIN))
    if operation.verb == "CREATE":
        reject(DATA_VOLUME_VALIDATOR, _claim_is_taken(operation, volume))
    reject(DATA_VOLUME_VALIDATOR, data_volume_problems("spec", spec))


def _next_stage(operation: Operation) -> bool:
    """A multi-stage import of a warm migration may add checkpoints."""
    new, old = at(operation.object, "spec") or {}, at(operation.old, "spec") or {}
    source = new.get("source") or {}
    if not new.get("checkpoints") or not (source.get("vddk") or source.get("imageio")):
        return False
    skip = ("checkpoints", "finalCheckpoint")
    return {key: value for key, value in new.items() if key not in skip} == {
        key: value for key, value in old.items() if key not in skip
    }


def _claim_is_taken(operation: Operation, volume: Object) -> Found:
    entry = operation.cluster.store.find(("", "persistentvolumeclaims"), operation.namespace, operation.name)
    if entry is None:
        return
    metadata = entry.object["metadata"]
    if any(
        owner.get("controller") and owner["kind"] == "DataVolume" for owner in metadata.get("ownerReferences") or ()
    ):
        return
    populated = (metadata.get("annotations") or {}).get("cdi.kubevirt.io/storage.populatedFor")
    adopted = (volume["metadata"].get("annotations") or {}).get("cdi.kubevirt.io/allowClaimAdoption") == "true"
    if populated != operation.name and not adopted:
        message = f"Destination PVC {operation.namespace}/{operation.name} already exists"
        yield Cause(message, "DataVolume.Name", DUPLICATE)


def data_volume_problems(field: str, spec: Object) -> Found:
    """The first thing that is wrong with a DataVolume's spec; CDI stops there."""
    claim, storage = spec.get("pvc"), spec.get("storage")
    if claim is None and storage is None:
        yield Cause("Missing Data volume PVC", f"{field}.PVC", INVALID)
        return
    if claim is not None and storage is not None:
        message = "Duplicate storage definition, both target storage and target pvc defined"
        yield Cause(message, f"{field}.PVC.Storage", INVALID)
        return
    wanted = claim if claim is not None else storage or {}
    steps = (
        _size(field, spec, wanted, "PVC" if claim is not None else "Storage"),
        _name_length(wanted.get("storageClassName") or "", MAX_SUBDOMAIN),
        _access_modes(field, wanted, one=claim is not None),
    )
    for step in steps:
        causes = list(step)
        if causes:
            yield from causes
            return
    yield from _population(field, spec, wanted)


def _size(field: str, spec: Object, wanted: Object, name: str) -> Found:
    source = spec.get("source") or {}
    clone = spec.get("sourceRef") is not None or source.get("pvc") is not None or source.get("snapshot") is not None
    size, where = at(wanted, "resources", "requests", "storage"), f"{field}.{name}.resources.requests.size"
    if size is None:
        if name == "PVC" or not clone:
            yield Cause(f"{name} size is missing", where, INVALID)
    elif amount(size) <= 0:
        yield Cause(f"{name} size can't be equal or less than zero", where, INVALID)
    elif amount(size) < SMALLEST_VOLUME:
        yield Cause(f"{name} size should be at least 1MiB", where, INVALID)


def _access_modes(field: str, wanted: Object, *, one: bool) -> Found:
    modes, where = wanted.get("accessModes") or [], f"{field}.PVC.accessModes"
    if one and not modes:
        yield Cause("Required value: at least 1 access mode is required", where, INVALID)
    elif one and len(modes) > 1:
        yield Cause("PVC multiple accessModes", where, INVALID)
    elif any(mode not in ACCESS_MODES for mode in modes):
        supported = ", ".join(f'"{mode}"' for mode in ACCESS_MODES)
        yield Cause(f'Unsupported value: "{modes[0]}": supported values: {supported}', where, INVALID)


def _population(field: str, spec: Object, wanted: Object) -> Found:
    source, reference = spec.get("source"), spec.get("sourceRef")
    if wanted.get("dataSource") is not None or wanted.get("dataSourceRef") is not None:
        yield from _external(field, wanted, sourced=source is not None or reference is not None)
    elif (source is None) == (reference is None):
        message = "Data volume should have either Source or SourceRef, or be externally populated"
        yield Cause(message, f"{field}.source", INVALID)
    elif reference is not None:
        yield from _reference(field, reference)
    else:
        yield from _source(field, source or {}, spec.get("contentType") or "", "Data volume")


def _external(field: str, wanted: Object, *, sourced: bool) -> Found:
    if sourced:
        yield Cause("External population is incompatible with Source and SourceRef", f"{field}.source", INVALID)
    for key, title in (("dataSource", "DataSource"), ("dataSourceRef", "DataSourceRef")):
        reference = wanted.get(key)
        if reference is None:
            continue
        where = f"{field}.{key}"
        if reference.get("namespace"):
            yield Cause(f"Invalid value: {title} namespace not supported", f"{where}.namespace.", INVALID)
        if not reference.get("name"):
            yield Cause(f"Required value: {title} name", f"{where}.name.", INVALID)
        if not reference.get("kind"):
            yield Cause(f"Required value: {title} kind", f"{where}.kind", INVALID)
        if not reference.get("apiGroup") and reference.get("kind") != "PersistentVolumeClaim":
            message = f"Required value: {title} apiGroup when kind is not 'PersistentVolumeClaim'"
            yield Cause(message, f"{where}.apiGroup.", INVALID)


def _reference(field: str, reference: Object) -> Found:
    kind = reference.get("kind")
    if not kind:
        yield Cause("Missing sourceRef kind", f"{field}.sourceRef.Kind", INVALID)
    elif kind != "DataSource":
        message = f"Unsupported sourceRef kind {kind}, currently only DataSource is supported"
        yield Cause(message, f"{field}.sourceRef.Kind", INVALID)
    elif not reference.get("name"):
        yield Cause("Missing sourceRef name", f"{field}.sourceRef.Name", INVALID)


def _source(field: str, source: Object, content: str, title: str) -> Found:
    given = [kind for kind, value in source.items() if value is not None]
    if len(given) != 1:
        yield Cause(
            f"{'Multiple' if given else 'Missing'} {title} source{'s' if given else ''}", f"{field}.source", INVALID
        )
        return
    if content and content not in CONTENT_TYPES:
        message = f"ContentType not one of: {', '.join(CONTENT_TYPES)}"
        yield Cause(message, f"{field}.contentType", INVALID)
        return
    kind, wanted = given[0], source[given[0]]
    if kind in URL_SOURCES:
        yield from _url_source(field, kind, wanted)
    elif kind == "blank" and content == "archive":
        message = "SourceType cannot be blank and the contentType be archive"
        yield Cause(message, f"{field}.contentType", INVALID)
    elif kind == "registry":
        yield from _registry(field, wanted, content)
    elif kind in ("pvc", "snapshot") and not (wanted.get("namespace") and wanted.get("name")):
        name, said = ("PVC", "PVC") if kind == "pvc" else ("Snapshot", "snapshot")
        where = f"{field}.source.{name}"
        yield Cause(f"{where} source {said} is not valid", where, INVALID)


REQUIRED = {
    "imageio": ("Imageio", ("secretRef", "diskId")),
    "vddk": ("VDDK", ("secretRef", "uuid", "backingFile", "thumbprint")),
}


def _checksum_problem(checksum: str) -> str:
    """Why it is none, in the words of pkg/util/checksum; letter case does not count, nor do spaces around."""
    name, colon, digest = checksum.partition(":")
    algorithm, digest = name.strip().lower(), digest.strip().lower()
    if not colon:
        return f"invalid checksum format: expected 'algorithm:hash', got '{checksum}'"
    if not digest:
        return "checksum hash value cannot be empty"
    size = CHECKSUMS.get(algorithm)
    if size is None:
        return f"unsupported hash algorithm '{algorithm}': supported algorithms are: {', '.join(CHECKSUMS)}"
    if len(digest) != size:
        return f"invalid {algorithm} hash length: expected {size} hex characters, got {len(digest)}"
    wrong = re.search("[^0-9a-f]", digest)
    if wrong is not None:
        byte = f"U+{ord(wrong[0]):04X} '{wrong[0]}'"
        return f"checksum hash is not valid hexadecimal: encoding/hex: invalid byte: {byte}"
    return ""


def _url_source(field: str, kind: str, wanted: Object) -> Found:
    title, keys = REQUIRED.get(kind, ("", ()))
    if any(not wanted.get(key) for key in keys):
        where = f"{field}.source.{title}"
        yield Cause(f"{where} source {title} is not valid", where, INVALID)
        return
    if kind == "imageio" and not wanted.get("certConfigMap") and not wanted.get("insecureSkipVerify"):
        where = f"{field}.source.{title}"
        yield Cause(f"{where} source {title} requires CertConfigMap or InsecureSkipVerify", where, INVALID)
        return
    problem = url_problem(wanted.get("url") or "")
    if problem:
        yield Cause(f"{field}.source {problem}", f"{field}.source.{URL_SOURCES[kind]}.url", INVALID)
    checksum = wanted.get("checksum") if kind == "http" else None
    if checksum and (problem := _checksum_problem(checksum)):
        yield Cause(f"Invalid checksum format: {problem}", f"{field}.source.HTTP.checksum", INVALID)


def url_problem(url: str) -> str | None:
    """What is wrong with the URL of a source, in CDI's words."""
    if not url:
        return "source URL is empty"
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        return f"Invalid source URL: {url}"
    if not scheme and not url.startswith("/"):
        return f"Invalid source URL: {url}"
    return None if scheme in ("http", "https", "gs") else f"Invalid source URL scheme: {url}"


def _registry(field: str, wanted: Object, content: str) -> Found:
    url, stream, method = wanted.get("url"), wanted.get("imageStream"), wanted.get("pullMethod")
    where = f"{field}.source.Registry"
    if content and content != "kubevirt":
        yield Cause("ContentType must be kubevirt when Source is Registry", f"{field}.contentType", INVALID)
    elif (url is None) == (stream is None):
        yield Cause("Source registry should have either URL or ImageStream", where, INVALID)
    elif url is not None and urlsplit(url).scheme not in ("docker", "oci-archive"):
        yield Cause(f"Illegal registry source URL scheme {url}", f"{where}.URL", INVALID)
    elif method not in (None, "pod", "node"):
        yield Cause(f'ImportMethod {method} is neither pod, node or ""', f"{where}.importMethod", INVALID)
    elif stream == "":
        yield Cause("Source registry ImageStream is not valid", f"{where}.importMethod", INVALID)
    elif stream is not None and method != "node":
        message = "Source registry ImageStream is supported only with node pull import method"
        yield Cause(message, f"{where}.importMethod", INVALID)


# DataImportCron


@validating("dataimportcrons.cdi.kubevirt.io", "CREATE", "UPDATE")
def check_cron(operation: Operation) -> None:
    reject(CRON_VALIDATOR, _name_length(operation.name, MAX_LABEL))
    if operation.verb == "UPDATE":
        if not unchanged(operation):
            message = "Cannot update DataImportCron Spec"
            reject(CRON_VALIDATOR, [Cause(message, "DataImportCron.Spec", DUPLICATE)])
        return
    reject(CRON_VALIDATOR, _cron(at(operation.object, "spec") or {}))


def _cron(spec: Object) -> Found:
    template = at(spec, "template", "spec") or {}
    source = template.get("source") or {}
    if source.get("registry") is None and source.get("pvc") is None:
        yield Cause("Missing source", "spec.Template", INVALID)
        return
    if any(template.get(key) for key in ("sourceRef", "contentType", "checkpoints", "finalCheckpoint")):
        message = "Unsettable fields: SourceRef, ContentType, Checkpoints, FinalCheckpoint"
        yield Cause(message, "spec.Template", INVALID)
        return
    causes = list(data_volume_problems("Template", template))
    if causes:
        yield from causes
    elif spec.get("schedule") and not is_schedule(spec["schedule"]):
        yield Cause("Illegal cron schedule", "spec.Schedule", INVALID)
    elif (spec.get("importsToKeep") or 0) < 0:
        yield Cause("Illegal ImportsToKeep value", "spec.ImportsToKeep", INVALID)
    elif spec.get("garbageCollect") not in (None, "Never", "Outdated"):
        yield Cause("Illegal GarbageCollect value", "spec.GarbageCollect", INVALID)
    elif not spec.get("managedDataSource"):
        yield Cause("Illegal ManagedDataSource value", "spec.ManagedDataSource", INVALID)
    else:
        yield from _name_length(spec["managedDataSource"], MAX_LABEL)


def is_schedule(text: str) -> bool:
    """Whether this is a cron expression of five fields or one of the @descriptors."""
    if text.startswith("@"):
        known = ("yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly")
        return text[1:] in known or bool(re.fullmatch(r"@every (\d+(\.\d+)?(ns|us|ms|s|m|h))+", text))
    fields = text.split()
    if len(fields) != len(CRON_RANGES):
        return False
    return all(_is_field(field, index) for index, field in enumerate(fields))


def _is_field(field: str, index: int) -> bool:
    low, high = CRON_RANGES[index]
    names = CRON_NAMES["month" if index == 3 else "day"].split() if index in (3, 4) else []

    def number(text: str) -> int:
        if text.lower() in names:
            return names.index(text.lower()) + low
        return int(text) if text.isdigit() else -1

    for part in field.split(","):
        span, slash, step = part.partition("/")
        if slash and (not step.isdigit() or int(step) == 0):
            return False
        if span in ("*", "?"):
            continue
        first, dash, last = span.partition("-")
        start, end = number(first), number(last) if dash else number(first)
        if not low <= start <= end <= high:
            return False
    return True


# Populators, transfers and CDI itself


def _check_population_source(operation: Operation) -> None:
    spec, kind = at(operation.object, "spec") or {}, operation.resource.kind
    if operation.verb == "UPDATE" and not unchanged(operation) and not spec.get("checkpoints"):
        reject(POPULATOR_VALIDATOR, [Cause(f"Cannot update {kind} Spec", f"{kind}.Spec", DUPLICATE)])
    reject(POPULATOR_VALIDATOR, _name_length(operation.name, MAX_LABEL))
    content = spec.get("contentType") or ""
    if content and content not in CONTENT_TYPES:
        message = f"ContentType not one of: {', '.join(CONTENT_TYPES)}"
        reject(POPULATOR_VALIDATOR, [Cause(message, "spec.contentType", INVALID)])
    if kind == "VolumeImportSource":
        reject(POPULATOR_VALIDATOR, _source("spec", spec.get("source") or {}, content, "VolumeImport"))
        if spec.get("checkpoints") and not spec.get("targetClaim"):
            message = "Unable to do multi-stage import without specifying a target claim"
            reject(POPULATOR_VALIDATOR, [Cause(message, "spec.targetClaim", INVALID)])


for _plural in ("volumeimportsources", "volumeuploadsources"):
    validating(f"{_plural}.{GROUP}", "CREATE", "UPDATE")(_check_population_source)


@validating("objecttransfers.cdi.kubevirt.io", "CREATE", "UPDATE")
def check_transfer(operation: Operation) -> None:
    spec = at(operation.object, "spec") or {}
    if operation.verb == "UPDATE":
        if not unchanged(operation):
            raise failed(TRANSFER_VALIDATOR, "ObjectTransfer spec is immutable")
        return
    source, target = spec.get("source") or {}, spec.get("target") or {}
    if not target.get("namespace") and not target.get("name"):
        raise failed(TRANSFER_VALIDATOR, "Target namespace and/or target name must be supplied")
    keys = {"DataVolume": (GROUP, "datavolumes"), "PersistentVolumeClaim": ("", "persistentvolumeclaims")}
    if source.get("kind") not in keys:
        raise failed(TRANSFER_VALIDATOR, f'Unsupported kind "{source.get("kind")}"')
    namespace = target.get("namespace") or source.get("namespace")
    name = target.get("name") or source.get("name") or ""
    if operation.cluster.store.find(keys[source["kind"]], namespace, name) is not None:
        raise failed(TRANSFER_VALIDATOR, f'ObjectTransfer target "{namespace}/{name}" already exists')


@validating("cdis.cdi.kubevirt.io", "DELETE")
def check_uninstall(operation: Operation) -> None:
    cdi = operation.old or {}
    if at(cdi, "status", "phase") in (None, "", "Error"):
        return
    if at(cdi, "spec", "uninstallStrategy") != "BlockUninstallIfWorkloadsExist":
        return
    volumes = [
        entry
        for entry in operation.cluster.store.entries((GROUP, "datavolumes"))
        if CRON_LABEL not in (entry.object["metadata"].get("labels") or {})
    ]
    if volumes:
        count = min(len(volumes), 2)
        message = (
            f"rejecting the uninstall request, since there are still {count} DataVolumes present. Either delete all "
            "DataVolumes or change the uninstall strategy before uninstalling CDI"
        )
        raise failed(CDI_VALIDATOR, message)
