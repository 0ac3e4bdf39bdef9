"""Resources, labels and annotations of CDI."""

from __future__ import annotations

DATA_VOLUMES = "datavolumes.cdi.kubevirt.io"
DATA_SOURCES = "datasources.cdi.kubevirt.io"
IMPORT_CRONS = "dataimportcrons.cdi.kubevirt.io"
PROFILES = "storageprofiles.cdi.kubevirt.io"
CONFIGS = "cdiconfigs.cdi.kubevirt.io"
CDIS = "cdis.cdi.kubevirt.io"
PVCS = "persistentvolumeclaims"
CLASSES = "storageclasses.storage.k8s.io"
SNAPSHOTS = "volumesnapshots.snapshot.storage.k8s.io"

PREFIX = "cdi.kubevirt.io"
POD_PHASE = f"{PREFIX}/storage.pod.phase"
POPULATED_FOR = f"{PREFIX}/storage.populatedFor"
USE_POPULATOR = f"{PREFIX}/storage.usePopulator"
BIND_IMMEDIATE = f"{PREFIX}/storage.bind.immediate.requested"
CLONE_TYPE = f"{PREFIX}/cloneType"
CLONE_PHASE = f"{PREFIX}/clonePhase"
DELETE_AFTER = f"{PREFIX}/storage.deleteAfterCompletion"
CONTENT_TYPE = f"{PREFIX}/storage.contentType"
ADOPT = f"{PREFIX}/allowClaimAdoption"
IMPORTER_LABELS = {"app": "containerized-data-importer", "app.kubernetes.io/managed-by": "cdi-controller"}
