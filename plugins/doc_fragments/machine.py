# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that describe a machine, on a cluster and on a KVM host alike."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  cpu:
    description:
      - Processors of the guest. Their number is sockets times cores times threads.
      - What is left out is left as it is, or to the system that runs the machine.
    type: dict
    suboptions:
      cores:
        description: Cores a socket, at least 1.
        type: int
      sockets:
        description: Sockets, at least 1.
        type: int
      threads:
        description: Threads a core, at least 1.
        type: int
      model:
        description: CPU model the guest sees, for example V(host-model), V(host-passthrough) or V(Skylake-Server).
        type: str
      features:
        description: CPU features demanded of the host or withheld from the guest.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the feature, for example V(vmx).
            type: str
            required: true
          policy:
            description: How the feature is treated.
            type: str
            choices: [force, require, optional, disable, forbid]
            default: require
      dedicated:
        description: Whether each vCPU gets a host CPU of its own.
        type: bool
  memory:
    description:
      - Memory the guest sees, in bytes with a unit, for example V(4Gi).
      - What is no quantity (V(4GB)) or has no unit is refused.
    type: str
  hugepages:
    description: Size of the huge pages that back the guest's memory, for example V(2Mi) or V(1Gi).
    type: str
  firmware:
    description: Firmware and TPM.
    type: dict
    suboptions:
      mode:
        description: V(bios) or V(efi). A new machine boots as its preference, or the system, says.
        type: str
        choices: [bios, efi]
      secure_boot:
        description: Whether EFI boots only what is signed. A machine that is given V(efi) anew starts without it.
        type: bool
      persistent:
        description: Whether EFI variables and the state of the TPM outlive the guest's stop.
        type: bool
      tpm:
        description: Whether the machine has a TPM. V(false) takes it away.
        type: bool
      uuid:
        description: UUID the guest sees in its firmware. Anything else than a UUID is refused.
        type: str
      serial:
        description: Serial number the guest sees in its firmware.
        type: str
  machine_type:
    description: Machine type, for example V(q35).
    type: str
  hostname:
    description:
      - Host name the guest is given, a DNS label. Default is the machine's name.
      - On a KVM host, cloud-init gives it to the guest, with the seed.
    type: str
  disks:
    description:
      - Disks, each with a O(disks[].name) of its own. A disk that exists and is not listed stays as it is.
      - A source counts when the disk is made. What it says later never makes the disk anew. A cdrom of a KVM host gets
        another medium when its O(disks[].path) or O(disks[].volume) changes.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the disk, a DNS label, unique in the machine.
        type: str
        required: true
      state:
        description: V(absent) detaches the disk. Its data are kept.
        type: str
        choices: [present, absent]
        default: present
      boot_source:
        description:
          - On a cluster, copy a boot source (a DataSource), by name, or by a dictionary of C(name) and C(namespace),
            which is C(openshift-virtualization-os-images) unless given.
          - On a KVM host, copy a volume of that name (or with C(.qcow2), C(.raw), C(.img) or C(.iso) after it), by
            name, or by a dictionary of C(name) and C(pool), which is that of the disk unless given.
        type: raw
      blank:
        description: An empty volume that is kept. Needs O(disks[].size).
        type: bool
      http:
        description:
          - Import an image from a URL, as a text, or as a dictionary of C(url), C(secret) (name of a Secret with
            C(accessKeyId) and C(secretKey)) and C(cert_config_map) (name of a ConfigMap with the CA).
          - On a KVM host, a dictionary of C(url) and C(checksum) (C(sha256:) and the digits). The image is a qcow2 or
            raw one that is not packed; the task's own system downloads it.
          - Needs O(disks[].size). What is no URL with C(http) or C(https) is refused.
        type: raw
      registry:
        description:
          - Import a container disk image from a registry (C(docker://registry/image:tag)), as a text, or as a
            dictionary of C(url), C(secret), C(cert_config_map) and C(pull_method) (V(pod) or V(node)).
          - Needs O(disks[].size). What is no URL with C(docker) or C(oci-archive) is refused.
        type: raw
      clone_pvc:
        description: Copy a PersistentVolumeClaim, by name, or by a dictionary of C(name) and C(namespace).
        type: raw
      clone_snapshot:
        description: Make the disk from a VolumeSnapshot, by name, or by a dictionary of C(name) and C(namespace).
        type: raw
      pvc:
        description: Use this PersistentVolumeClaim itself.
        type: str
      data_volume:
        description: Use this DataVolume itself.
        type: str
      container_disk:
        description:
          - A disk from a container image; what the guest writes is lost when it stops.
          - The image, or a dictionary of C(image), C(pull_policy), C(pull_secret) and C(path).
        type: raw
      ephemeral:
        description: Read this PersistentVolumeClaim; what the guest writes is lost when it stops.
        type: str
      empty:
        description: Scratch space that is lost when the guest stops. Needs O(disks[].size).
        type: bool
      sysprep:
        description: Answer files for Windows, from a ConfigMap or a Secret.
        type: dict
        suboptions:
          config_map:
            description: Name of the ConfigMap.
            type: str
          secret:
            description: Name of the Secret.
            type: str
      config_map:
        description: The content of this ConfigMap, as a disk.
        type: str
      secret:
        description: The content of this Secret, as a disk.
        type: str
      service_account:
        description: The token of this ServiceAccount, as a disk.
        type: str
      volume:
        description: Use this volume of a storage pool itself. KVM hosts only.
        type: dict
        suboptions:
          pool:
            description: Name of the pool.
            type: str
            required: true
          name:
            description: Name of the volume.
            type: str
            required: true
      path:
        description:
          - Use the file or device of this path itself. KVM hosts only.
          - With a O(disks[].size), a file that is not there is made, in O(disks[].format) or what its name says, where
            a storage pool that runs has its directory. One that is there is used, and grows.
        type: path
      size:
        description:
          - Size with its unit, for example V(30Gi). What is no quantity (V(30GB)) or has no unit is refused.
          - A larger size than before expands the disk. A smaller one is refused - disks do not shrink.
          - On a KVM host, a disk that exists may be given a size alone, without the source it was made from.
        type: str
      storage_class:
        description:
          - Storage class of the volume that is made. Default is the cluster's. One that is not there is refused.
        type: str
      access_modes:
        description: Access modes of the volume that is made. Default is what suits the storage class.
        type: list
        elements: str
        choices: [ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod]
      volume_mode:
        description: Volume mode of the volume that is made. Default is what suits the storage class.
        type: str
        choices: [Filesystem, Block]
      preallocation:
        description: Whether the space of the volume that is made is allocated at once.
        type: bool
      pool:
        description: Storage pool in which the volume is made, V(default) unless given. KVM hosts only.
        type: str
      format:
        description:
          - Format of the image that is made, V(qcow2) in pools of files unless given, or of that in O(disks[].path),
            where no pool knows it and its name does not tell. KVM hosts only.
        type: str
        choices: [raw, qcow2]
      device:
        description: What the guest sees. A new disk is a V(disk).
        type: str
        choices: [disk, cdrom, lun]
      bus:
        description:
          - How it is attached. A new disk uses what the preference says; without one, V(virtio) for a disk, V(sata)
            for a cdrom, V(scsi) for a lun.
        type: str
        choices: [virtio, scsi, sata, usb]
      boot_order:
        description: Place in the boot order, from 1, unique among disks and interfaces.
        type: int
      readonly:
        description: Whether the guest may only read it.
        type: bool
      serial:
        description: Serial number by which the guest finds the disk.
        type: str
      shareable:
        description: Whether several machines may write to it at once.
        type: bool
      cache:
        description: How the host caches it.
        type: str
        choices: [none, writethrough, writeback]
      io:
        description: How the host does its input and output.
        type: str
        choices: [native, threads, default]
      error_policy:
        description: What happens to the guest when the disk fails.
        type: str
        choices: [stop, ignore, report, enospace]
      dedicated_io_thread:
        description: Whether the disk gets a thread of its own on the host.
        type: bool
  interfaces:
    description:
      - Network interfaces, each with a O(interfaces[].name) of its own. One that exists and is not listed stays.
      - A new machine for which none is declared gets one, V(default), on the pod network. An empty list is a machine
        without a network.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the interface, a DNS label, unique in the machine.
        type: str
        required: true
      state:
        description: V(absent) takes the interface away.
        type: str
        choices: [present, absent]
        default: present
      network:
        description:
          - V(pod) for the pod network, or the name of a network. On a cluster, that of a NetworkAttachmentDefinition,
            with its namespace before a slash where it is another.
          - On a KVM host, V(pod) is the network V(default), and the name is that of a network of libvirt. A bridge of
            the host itself is V(bridge:br0), a device of the host that is shared by macvtap V(macvtap:eth0).
        type: str
      binding:
        description:
          - How the interface is attached - V(masquerade), V(bridge), V(sriov), or the name of a network binding plugin
            such as V(l2bridge). A new interface on the pod network is V(masquerade), another one V(bridge).
          - On a KVM host the network decides it; V(masquerade) and V(bridge) are accepted, others refused.
        type: str
      model:
        description: Device model the guest sees. A new interface uses what the preference, or the system, says.
        type: str
        choices: [virtio, e1000, e1000e, igb, rtl8139, pcnet, ne2k_pci]
      mac:
        description: MAC address, six octets. Default is one that the system chooses. What is none is refused.
        type: str
      boot_order:
        description: Place in the boot order, from 1, unique among disks and interfaces.
        type: int
      ports:
        description: Ports the pod network lets through. Default is all.
        type: list
        elements: dict
        suboptions:
          port:
            description: Port number, 1 to 65535 without 49152 and 49153, which live migration uses.
            type: int
            required: true
          protocol:
            description: Protocol.
            type: str
            choices: [TCP, UDP]
            default: TCP
          name:
            description: Name of the port.
            type: str
      link:
        description: State of the link. A new interface is up.
        type: str
        choices: [up, down]
      portgroup:
        description: Port group of the network. KVM hosts only.
        type: str
  ssh_keys:
    description:
      - Public keys that may log in as the image's default user, each a line as in C(authorized_keys).
      - They are added to the user data of O(cloud_init). A private key is refused.
    type: list
    elements: str
  cloud_init:
    description: What cloud-init reads at the first boot. It is attached as a disk named C(cloudinit).
    type: dict
    suboptions:
      user_data:
        description: User data as a text that begins with C(#cloud-config), C(#!) or another of cloud-init's headers.
        type: str
      user_config:
        description:
          - User data as a dictionary, written as C(#cloud-config). It is part of the machine's definition and readable
            to whoever may read that; keep passwords in O(cloud_init.secret).
        type: dict
      network_data:
        description: Network configuration as a text.
        type: str
      network_config:
        description: Network configuration as a dictionary, for example with C(version), C(ethernets).
        type: dict
      secret:
        description: Name of a Secret whose key C(userdata) holds the user data.
        type: str
      network_secret:
        description: Name of a Secret whose key C(networkdata) holds the network configuration.
        type: str
      datasource:
        description: Form of the seed. A new machine gets V(no_cloud).
        type: str
        choices: [no_cloud, config_drive]
"""
