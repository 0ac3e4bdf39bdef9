#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_host
short_description: Make a Linux host a KVM host
description:
  - Installs libvirt, QEMU and what belongs to them on the host where the task runs, edits libvirt's configuration in
    place, lets users use it, and has systemd start its daemons with the host.
  - The families of Debian (Ubuntu) and Red Hat (Fedora, CentOS Stream, Rocky, Alma) are known; packages come from the
    repositories that the host has. What the task does not mention stays as it is.
  - Guests go on running while daemons are restarted. Settings with which libvirt does not run are taken back, so that
    guests do not lose it, and libvirt's own words say why; that is an error. Changes need root (C(become)).
  - O(uri) is only used to see whether libvirt answers, by C(virsh) or libvirt-python; neither need be there.
  - Where systemd does not run the host, nothing is started or restarted, which a warning and RV(services) say.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.kvm
attributes:
  check_mode:
    support: full
    description: Everything is read. Before packages are installed, their files and units are not there to be read, so
      that what would become of these is what would become of empty ones.
  diff_mode:
    support: full
    description: Shows the configuration files before and after. Certificates and keys are not shown.
options:
  packages:
    description: Whether packages are installed. None is ever removed or brought up to date.
    type: bool
    default: true
  parts:
    description:
      - What the host has beside the base, as packages - V(uefi) firmware, V(tpm) emulation, V(network) (the DHCP and
        DNS server of libvirt's networks), V(openvswitch), and for pools V(iscsi), V(nfs), V(lvm), V(rbd), V(gluster)
        and V(zfs). Not every system has packages for all.
    type: list
    elements: str
    choices: [uefi, tpm, network, openvswitch, iscsi, nfs, lvm, rbd, gluster, zfs]
    default: [uefi, tpm, network]
  extra_packages:
    description: Packages to install as well.
    type: list
    elements: str
    default: []
  daemons:
    description:
      - V(monolithic) is libvirtd; V(modular) is virtqemud, virtnetworkd, virtstoraged and so on, with virtproxyd for
        those who come from elsewhere. The other kind is stopped, and does not start any more.
      - V(auto) is the kind that is used, else the one that is installed, else the one that the system came with. What
        libvirt does not have here is refused.
    type: str
    choices: [auto, monolithic, modular]
    default: auto
  tls:
    description:
      - Whether others may come in by TLS (C(qemu+tls://)), who need a certificate that the host's CA has signed. By
        default they may as soon as the host has certificates; a warning says that it has none.
      - V(true) without certificates is an error.
    type: bool
  certificates:
    description:
      - What proves the host to others, in PEM, and becomes its own in C(/etc/pki). Each is a file where the task runs,
        which is the host, or the text itself; the lookup P(ansible.builtin.file#lookup) gives that of a file of the
        controller's.
      - Others are not let in by what they would not believe, or what is no longer valid; that is an error before
        anything is changed.
    type: dict
    suboptions:
      ca:
        description: Certificate of the CA.
        type: str
        required: true
      certificate:
        description: Certificate of the host, with the names that others know it by.
        type: str
        required: true
      key:
        description: Its key. Only root may read the copy.
        type: str
        required: true
      client_certificate:
        description: Certificate by which this host comes to others, as it does in migration from host to host (peer to
          peer). It may be the same as O(certificates.certificate), if that was made for both.
        type: str
      client_key:
        description: Its key. Only root may read the copy.
        type: str
  tcp_without_authentication:
    description:
      - Whether anybody who reaches port 16509 may come in, without a password and without encryption. B(Whoever gets in
        is root on the host.) For isolated networks only.
      - V(false) takes C(auth_tcp = "none") out of the configuration and closes the listener where it finds that; a TCP
        listener that asks for a password is left alone.
    type: bool
    default: false
  daemon_settings:
    description:
      - Settings of C(libvirtd.conf), or of C(virtqemud.conf) and, for those about listening, C(virtproxyd.conf), by
        their names. Values are numbers, texts, booleans (C(1) and C(0)) or lists of texts; null takes a setting away.
      - Comments and other settings stay. libvirt passes over names that it does not know.
    type: dict
  qemu_settings:
    description: Settings of C(qemu.conf), as in O(daemon_settings), for example C(user) and C(group) of QEMU's
      processes, C(vnc_listen), C(security_driver) or C(max_files).
    type: dict
  users:
    description: Users who are to be in the group C(libvirt), whom libvirt lets in like root. Others stay in it.
    type: list
    elements: str
  firewall:
    description: The firewall that is told to let others in - to TLS and TCP as they are on, to live migration (49152 to
      49215), and to O(extra_ports). V(none) leaves firewalls alone. One that is not installed is an error.
    type: str
    choices: [none, firewalld, ufw]
    default: none
  extra_ports:
    description: More ports to open, such as V(5900-5999/tcp) for consoles.
    type: list
    elements: str
    default: []
  start:
    description:
      - Whether systemd starts the daemons' sockets now and with the host, daemons with the host, and restarts daemons
        whose configuration changed.
      - A unit that was masked is not unmasked; that is an error.
    type: bool
    default: true
seealso:
  - module: virtstack.core.kvm_host_info
  - module: virtstack.core.kvm_network
  - module: virtstack.core.kvm_pool
"""

EXAMPLES = r"""
- name: This host runs virtual machines
  virtstack.core.kvm_host:
    packages: true
    parts: [uefi, tpm, network]

- name: Consoles are reached from other machines, and disks of guests belong to nobody else
  virtstack.core.kvm_host:
    qemu_settings:
      vnc_listen: 0.0.0.0
      max_files: 32768
    daemon_settings:
      max_clients: 500
      log_filters: "1:qemu 3:util"

- name: A setting is libvirt's own again
  virtstack.core.kvm_host:
    qemu_settings:
      max_files: null
"""

RETURN = r"""
family:
  description: The family of the system, V(debian) or V(redhat).
  returned: success
  type: str
daemons:
  description: The kind of its daemons, V(monolithic) or V(modular).
  returned: success
  type: str
tls:
  description: Whether others may come in by TLS; null where that was left as it is.
  returned: success
  type: bool
packages:
  description: Packages that were installed; in check mode, that would be.
  returned: success
  type: list
  elements: str
files:
  description: Files that were written; in check mode, that would be.
  returned: success
  type: list
  elements: str
users:
  description: Users who came into the group; in check mode, who would.
  returned: success
  type: list
  elements: str
ports:
  description: Ports that were opened; in check mode, that would be.
  returned: success
  type: list
  elements: str
services:
  description: What was done to the daemons; in check mode, what would be.
  returned: success
  type: dict
  contains:
    manager:
      description: V(systemd); null where it does not run the host, or O(start=false).
      type: str
    stopped:
      description: Units that were stopped and disabled.
      type: list
      elements: str
    enabled:
      description: Units that start with the host from now on.
      type: list
      elements: str
    started:
      description: Units that were started.
      type: list
      elements: str
    restarted:
      description: Daemons that were restarted.
      type: list
      elements: str
    restart_required:
      description: Whether a daemon has yet to be restarted by hand to see its new configuration.
      type: bool
    answers:
      description: Whether libvirt answers at O(uri) now; null where that cannot be asked, for lack of C(virsh) and
        libvirt-python.
      type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.kvm.host_certificates import keys
from ansible_collections.virtstack.core.plugins.module_utils.kvm.host_plan import PARTS
from ansible_collections.virtstack.core.plugins.module_utils.kvm.host_setup import set_up_host
from ansible_collections.virtstack.core.plugins.module_utils.kvm.options import URI_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **URI_OPTIONS,
        "packages": {"type": "bool", "default": True},
        "parts": {
            "type": "list",
            "elements": "str",
            "choices": list(PARTS["debian"]),
            "default": ["uefi", "tpm", "network"],
        },
        "extra_packages": {"type": "list", "elements": "str", "default": []},
        "daemons": {"type": "str", "choices": ["auto", "monolithic", "modular"], "default": "auto"},
        "tls": {"type": "bool"},
        "certificates": {
            "type": "dict",
            "options": {
                "ca": {"type": "str", "required": True},
                "certificate": {"type": "str", "required": True},
                "key": {"type": "str", "required": True, "no_log": False},
                "client_certificate": {"type": "str"},
                "client_key": {"type": "str", "no_log": False},
            },
        },
        "tcp_without_authentication": {"type": "bool", "default": False},
        "daemon_settings": {"type": "dict"},
        "qemu_settings": {"type": "dict"},
        "users": {"type": "list", "elements": "str"},
        "firewall": {"type": "str", "choices": ["none", "firewalld", "ufw"], "default": "none"},
        "extra_ports": {"type": "list", "elements": "str", "default": []},
        "start": {"type": "bool", "default": True},
    },
    # The path of a key is no secret, and belongs into errors.
    secrets=lambda params: keys(params["certificates"]),
)


def run(task: Task) -> Result:
    return set_up_host(task)


if __name__ == "__main__":
    main(SPEC, run)
