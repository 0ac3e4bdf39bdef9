# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt-python, which may be missing where a module runs.

It is imported here and nowhere else, so that a module without it can still say what to install.
"""

from __future__ import annotations

try:
    import libvirt
    import libvirt_qemu

    MISSING: str | None = None
except ImportError as error:
    libvirt = libvirt_qemu = None
    MISSING = str(error)
else:
    # Without a handler of ours libvirt prints every error to stderr, also those that are expected.
    libvirt.registerErrorHandler(lambda *_error: None, None)

__all__ = ["MISSING", "libvirt", "libvirt_qemu", "missing"]


def missing() -> str | None:
    """What to install before anything can work; None when nothing is missing."""
    if MISSING is None:
        return None
    return (
        "Install libvirt-python for the Python that runs this task: the package python3-libvirt where that is the"
        " system's own, else `pip install libvirt-python`, which needs libvirt-dev or libvirt-devel, and gcc"
        f" ({MISSING})."
    )
