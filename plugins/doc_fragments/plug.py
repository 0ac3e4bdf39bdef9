# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that plug into one machine; they are defined in module_utils/objects/plugging.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  vm:
    description: Name of the machine.
    type: str
    required: true
  namespace:
    description: Namespace of the machine.
    type: str
    required: true
  name:
    description: Name that the machine has for it, a DNS label.
    type: str
    required: true
  state:
    description: V(present) - the machine has it. V(absent) - the machine has it no more.
    type: str
    choices: [present, absent]
    default: present
  apply:
    description:
      - What is done about a change that a running guest gets only by a restart. V(next_boot) - it waits for the next
        start, and RV(restart_required) says so. V(live) - it is refused, and nothing is changed. V(restart) - the guest
        is restarted.
    type: str
    choices: [next_boot, live, restart]
    default: next_boot
"""
