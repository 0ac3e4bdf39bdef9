# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the inventories of machines, those of clusters and those of KVM hosts."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  filters:
    description:
      - Jinja expressions over the host variables. A machine is listed when all of them are true.
      - One that cannot be evaluated for a machine counts as false, with O(strict) as an error.
    type: list
    elements: str
    default: []
  address_family:
    description:
      - The family of address to take from an interface.
    type: str
    choices:
      - any
      - ipv4
      - ipv6
    default: any
  group_by_labels:
    description:
      - The keys of the labels of which to make groups, named C(label_<key>_<value>). A C(*) stands for any text.
    type: list
    elements: str
    default: []
"""
