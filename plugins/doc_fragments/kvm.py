# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of everything that talks to libvirt; they are defined in module_utils/kvm/options.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  uri:
    description:
      - The libvirt of the host, as a libvirt URI - V(qemu:///system), V(qemu:///session),
        V(qemu+ssh://root@host/system), V(qemu+tls://host/system), V(qemu+unix:///system?socket=/path).
      - It is opened where the task runs. On V(localhost) with a remote URI, Ansible needs no login on the host, and
        libvirt's own ways in (ssh keys, certificates) are used.
      - A host that does not answer, or does not let the user in, is an error that says what to do.
      - Can also be set with E(LIBVIRT_DEFAULT_URI).
    type: str
    default: qemu:///system
requirements:
  - libvirt-python (C(python3-libvirt)), at least 9.0, where the task runs
"""
