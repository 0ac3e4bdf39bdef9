# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of ansible-core's own ssh connection, in the version that is installed, for connections built on it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.connection.ssh import DOCUMENTATION as SSH_DOCUMENTATION
from yaml import safe_dump, safe_load


def without_versions(documented: Any) -> Any:
    """The same without the versions of ansible-core in which something was added, which are not ours."""
    if isinstance(documented, dict):
        return {key: without_versions(value) for key, value in documented.items() if key != "version_added"}
    return [without_versions(item) for item in documented] if isinstance(documented, list) else documented


class ModuleDocFragment:
    """Its documentation is set below: ansible-test reads only texts inside of a class."""


ModuleDocFragment.DOCUMENTATION = safe_dump(  # type: ignore[attr-defined]
    {"options": without_versions(safe_load(SSH_DOCUMENTATION)["options"])}
)
