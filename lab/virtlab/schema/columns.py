"""Printer columns of the CRDs that people look at: additionalPrinterColumns, as the CRDs declare them."""

from __future__ import annotations

from typing import Any

from virtlab.resource import Object, Resource


def _column(name: str, path: str, kind: str = "string", priority: int = 0, description: str = "") -> Object:
    column: Object = {"name": name, "type": kind, "jsonPath": path}
    if priority:
        column["priority"] = priority
    if description:
        column["description"] = description
    return column


def _condition(name: str, kind: str, priority: int = 0, field: str = "status") -> Object:
    return _column(name, f".status.conditions[?(@.type=='{kind}')].{field}", priority=priority)


_AGE = _column("Age", ".metadata.creationTimestamp", "date")
_PHASE = _column("Phase", ".status.phase")
_READY = _condition("Ready", "Ready")
_AVAILABLE = _condition("Available", "Available")
# Qualified name -> columns; the same in every version.
COLUMNS: dict[str, list[Object]] = {
    # KubeVirt
    "kubevirts.kubevirt.io": [_AGE, _PHASE],
    "virtualmachines.kubevirt.io": [
        _AGE,
        _column("Status", ".status.printableStatus", description="Human Readable Status"),
        _READY,
    ],
    "virtualmachineinstances.kubevirt.io": [
        _AGE,
        _PHASE,
        _column("IP", ".status.interfaces[0].ipAddress"),
        _column("NodeName", ".status.nodeName"),
        _READY,
        _condition("Live-Migratable", "LiveMigratable", priority=1),
        _condition("Paused", "Paused", priority=1),
    ],
    "virtualmachineinstancemigrations.kubevirt.io": [
        _column("Phase", ".status.phase", description="The current phase of VM instance migration"),
        _column("VMI", ".spec.vmiName", description="The name of the VMI to perform the migration on"),
    ],
    "virtualmachineinstancereplicasets.kubevirt.io": [
        _column("Desired", ".spec.replicas", "integer", description="Number of desired VirtualMachineInstances"),
        _column("Current", ".status.replicas", "integer", description="Number of managed VMIs that are not final"),
        _column("Ready", ".status.readyReplicas", "integer", description="Number of managed VMIs which are ready"),
        _AGE,
    ],
    "virtualmachinepools.pool.kubevirt.io": [
        _column("Desired", ".spec.replicas", "integer"),
        _column("Current", ".status.replicas", "integer"),
        _column("Ready", ".status.readyReplicas", "integer"),
        _AGE,
    ],
    "virtualmachinesnapshots.snapshot.kubevirt.io": [
        _column("SourceKind", ".spec.source.kind"),
        _column("SourceName", ".spec.source.name"),
        _PHASE,
        _column("ReadyToUse", ".status.readyToUse", "boolean"),
        _column("CreationTime", ".status.creationTime", "date"),
        _column("Error", ".status.error.message"),
    ],
    "virtualmachinesnapshotcontents.snapshot.kubevirt.io": [
        _column("ReadyToUse", ".status.readyToUse", "boolean"),
        _column("CreationTime", ".status.creationTime", "date"),
        _column("Error", ".status.error.message"),
    ],
    "virtualmachinerestores.snapshot.kubevirt.io": [
        _column("TargetKind", ".spec.target.kind"),
        _column("TargetName", ".spec.target.name"),
        _column("Complete", ".status.complete", "boolean"),
        _column("RestoreTime", ".status.restoreTime", "date"),
    ],
    "virtualmachineexports.export.kubevirt.io": [
        _column("SourceKind", ".spec.source.kind"),
        _column("SourceName", ".spec.source.name"),
        _PHASE,
    ],
    "virtualmachineclones.clone.kubevirt.io": [
        _PHASE,
        _column("SourceVirtualMachine", ".spec.source.name"),
        _column("TargetVirtualMachine", ".spec.target.name"),
    ],
    "virtualmachinebackups.backup.kubevirt.io": [
        _column("SourceKind", ".spec.source.kind"),
        _column("SourceName", ".spec.source.name"),
        _column("Type", ".status.type"),
        _column("CheckpointName", ".status.checkpointName"),
    ],
    "virtualmachinebackuptrackers.backup.kubevirt.io": [
        _column("SourceKind", ".spec.source.kind"),
        _column("SourceName", ".spec.source.name"),
        _column("LatestCheckpoint", ".status.latestCheckpoint.name"),
        _column("CheckpointTime", ".status.latestCheckpoint.creationTime", "date"),
    ],
    # CDI
    "cdis.cdi.kubevirt.io": [_AGE, _PHASE],
    "datavolumes.cdi.kubevirt.io": [
        _column("Phase", ".status.phase", description="The phase the data volume is in"),
        _column("Progress", ".status.progress", description="Transfer progress in percentage if known, N/A otherwise"),
        _column("Restarts", ".status.restartCount", "integer", description="Restarts of the transfer"),
        _AGE,
    ],
    "dataimportcrons.cdi.kubevirt.io": [
        _column("Format", ".status.sourceFormat", description="The format in which created sources are saved"),
        _AGE,
    ],
    "datasources.cdi.kubevirt.io": [_AGE],
    "storageprofiles.cdi.kubevirt.io": [_AGE],
    # HyperConverged and what it runs
    "hyperconvergeds.hco.kubevirt.io": [_AGE],
    "ssps.ssp.kubevirt.io": [_AGE, _PHASE],
    "networkaddonsconfigs.networkaddonsoperator.network.kubevirt.io": [_AGE],
    "hostpathprovisioners.hostpathprovisioner.kubevirt.io": [_AGE, _AVAILABLE],
    "aaqs.aaq.kubevirt.io": [_AGE, _PHASE],
    # nmstate
    "nodenetworkconfigurationpolicies.nmstate.io": [
        _column("Status", ".status.conditions[?(@.status=='True')].type", description="Status"),
        _column("Reason", ".status.conditions[?(@.status=='True')].reason", description="Reason"),
    ],
    "nodenetworkconfigurationenactments.nmstate.io": [
        _column("Status", ".status.conditions[?(@.status=='True')].type", description="Status"),
        _column("Status Age", ".status.conditions[?(@.status=='True')].lastTransitionTime", "date"),
        _column("Reason", ".status.conditions[?(@.status=='True')].reason", description="Reason"),
    ],
    # OLM
    "catalogsources.operators.coreos.com": [
        _column("Display", ".spec.displayName", description="The pretty name of the catalog"),
        _column("Type", ".spec.sourceType", description="The type of the catalog"),
        _column("Publisher", ".spec.publisher", description="The publisher of the catalog"),
        _AGE,
    ],
    "clusterserviceversions.operators.coreos.com": [
        _column("Display", ".spec.displayName", description="The name of the CSV"),
        _column("Version", ".spec.version", description="The version of the CSV"),
        _column("Release", ".spec.release", description="The release of this version of the CSV"),
        _column("Replaces", ".spec.replaces", description="The name of a CSV that this one replaces"),
        _PHASE,
    ],
    "installplans.operators.coreos.com": [
        _column("CSV", ".spec.clusterServiceVersionNames[0]", description="The first CSV in the list"),
        _column("Approval", ".spec.approval", description="The approval mode"),
        _column("Approved", ".spec.approved", "boolean"),
    ],
    "subscriptions.operators.coreos.com": [
        _column("Package", ".spec.name", description="The package subscribed to"),
        _column("Source", ".spec.source", description="The catalog source for the specified package"),
        _column("Channel", ".spec.channel", description="The channel of updates to subscribe to"),
    ],
    # The base cluster
    "clusteroperators.config.openshift.io": [
        _column("Version", ".status.versions[?(@.name=='operator')].version"),
        _AVAILABLE,
        _condition("Progressing", "Progressing"),
        _condition("Degraded", "Degraded"),
        _condition("Since", "Available", field="lastTransitionTime"),
    ],
    "clusterversions.config.openshift.io": [
        _column("Version", ".status.history[?(@.state=='Completed')].version"),
        _AVAILABLE,
        _condition("Progressing", "Progressing"),
        _condition("Since", "Progressing", field="lastTransitionTime"),
        _condition("Status", "Progressing", field="message"),
    ],
    "machineconfigpools.machineconfiguration.openshift.io": [
        _column("Config", ".status.configuration.name"),
        _condition("Updated", "Updated"),
        _condition("Updating", "Updating"),
        _condition("Degraded", "Degraded"),
        _column("MachineCount", ".status.machineCount", "number"),
        _column("ReadyMachineCount", ".status.readyMachineCount", "number"),
        _column("UpdatedMachineCount", ".status.updatedMachineCount", "number"),
        _column("DegradedMachineCount", ".status.degradedMachineCount", "number"),
        _AGE,
    ],
    "volumesnapshots.snapshot.storage.k8s.io": [
        _column("ReadyToUse", ".status.readyToUse", "boolean"),
        _column("SourcePVC", ".spec.source.persistentVolumeClaimName"),
        _column("SourceSnapshotContent", ".spec.source.volumeSnapshotContentName"),
        _column("RestoreSize", ".status.restoreSize"),
        _column("SnapshotClass", ".spec.volumeSnapshotClassName"),
        _column("SnapshotContent", ".status.boundVolumeSnapshotContentName"),
        _column("CreationTime", ".status.creationTime", "date"),
        _AGE,
    ],
    "volumesnapshotclasses.snapshot.storage.k8s.io": [
        _column("Driver", ".driver"),
        _column("DeletionPolicy", ".deletionPolicy"),
        _AGE,
    ],
    "volumesnapshotcontents.snapshot.storage.k8s.io": [
        _column("ReadyToUse", ".status.readyToUse", "boolean"),
        _column("RestoreSize", ".status.restoreSize", "integer"),
        _column("DeletionPolicy", ".spec.deletionPolicy"),
        _column("Driver", ".spec.driver"),
        _column("VolumeSnapshotClass", ".spec.volumeSnapshotClassName"),
        _column("VolumeSnapshot", ".spec.volumeSnapshotRef.name"),
        _column("VolumeSnapshotNamespace", ".spec.volumeSnapshotRef.namespace"),
        _AGE,
    ],
    # Backup and maintenance
    "backupstoragelocations.velero.io": [
        _PHASE,
        _column("Last Validated", ".status.lastValidationTime", "date"),
        _AGE,
        _column("Default", ".spec.default", "boolean"),
    ],
    "schedules.velero.io": [
        _column("Status", ".status.phase"),
        _column("Schedule", ".spec.schedule"),
        _column("LastBackup", ".status.lastBackup", "date"),
        _AGE,
        _column("Paused", ".spec.paused", "boolean"),
    ],
    "dataprotectionapplications.oadp.openshift.io": [
        _condition("Reconciled", "Reconciled"),
        _AGE,
    ],
}


def columns(resource: Resource) -> list[dict[str, Any]]:
    """The additional printer columns of a CRD's version; none where the CRD declares none."""
    return COLUMNS.get(resource.qualified, [])
