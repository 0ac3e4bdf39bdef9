# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that declare objects; they are defined in module_utils/cluster/options.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  force_conflicts:
    description:
      - Whether to take over fields that another field manager declares with other values (a GitOps tool, say). By
        default that is an error that names the manager and the fields.
      - Fields that others merely updated (the console, C(virtctl), C(kubectl edit)) take the declared value either way.
    type: bool
    default: false
"""
