# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of ansible-core's own ssh connection, in the version that is installed, for connections built on it."""

from __future__ import annotations

from ansible.plugins.connection.ssh import DOCUMENTATION as SSH_DOCUMENTATION
from yaml import safe_dump, safe_load


class ModuleDocFragment:
    DOCUMENTATION = safe_dump({"options": safe_load(SSH_DOCUMENTATION)["options"]})
