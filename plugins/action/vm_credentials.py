# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.virtstack.core.plugins.modules import vm_credentials
from ansible_collections.virtstack.core.plugins.plugin_utils.direct import DirectAction


class ActionModule(DirectAction):
    MODULE = vm_credentials
