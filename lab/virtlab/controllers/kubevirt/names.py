"""Resources, finalizers, labels and annotations of KubeVirt, as virt-controller writes them."""

from __future__ import annotations

VMS = "virtualmachines.kubevirt.io"
VMIS = "virtualmachineinstances.kubevirt.io"
MIGRATIONS = "virtualmachineinstancemigrations.kubevirt.io"
REPLICA_SETS = "virtualmachineinstancereplicasets.kubevirt.io"
DATA_VOLUMES = "datavolumes.cdi.kubevirt.io"
DATA_SOURCES = "datasources.cdi.kubevirt.io"
PVCS = "persistentvolumeclaims"
REVISIONS = "controllerrevisions.apps"
KUBEVIRTS = "kubevirts.kubevirt.io"

VM_FINALIZER = "kubevirt.io/virtualMachineControllerFinalize"
VMI_FINALIZERS = ("foregroundDeleteVirtualMachine", "kubevirt.io/foregroundDeleteVirtualMachine")
LATEST_VERSION = "kubevirt.io/latest-observed-api-version"
STORAGE_VERSION = "kubevirt.io/storage-observed-api-version"
GENERATION = "kubevirt.io/vm-generation"
IMMEDIATE_VOLUMES = "kubevirt.io/immediate-data-volume-creation"
DOMAIN = "kubevirt.io/domain"
CREATED_BY = "kubevirt.io/created-by"
VM_NAME = "vm.kubevirt.io/name"
NODE_NAME = "kubevirt.io/nodeName"
LAUNCHER = "virt-launcher"
MIGRATION_JOB = "kubevirt.io/migrationJobUID"
MIGRATION_FINALIZER = "kubevirt.io/migrationJobFinalize"
WORKLOAD_UPDATE = "kubevirt.io/workloadUpdateMigration"

FINAL = ("Succeeded", "Failed")
LAUNCHER_IMAGE = "registry.lab/container-native-virtualization/virt-launcher:v1.9.0"
