# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Firmware and TPM of a machine."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .refusal import Problems

MODES = ("bios", "efi")


@dataclass(frozen=True)
class Firmware:
    """How the machine boots. None is what the description leaves to the system."""

    mode: str | None = None
    secure_boot: bool | None = None
    persistent: bool | None = None
    tpm: bool | None = None
    uuid: str | None = None
    serial: str | None = None


def read_firmware(options: Mapping[str, Any] | None) -> Firmware | None:
    """The firmware that C(firmware:) describes. Secure boot and stored variables exist with EFI only."""
    if options is None:
        return None
    problems = Problems()
    mode, identity = options.get("mode"), options.get("uuid")
    if options.get("secure_boot") and mode != "efi":
        problems.add("firmware.secure_boot: only EFI boots securely; set firmware.mode to efi")
    if options.get("persistent") and mode != "efi" and not options.get("tpm"):
        problems.add("firmware.persistent: there is state with EFI or a TPM only; set firmware.mode or firmware.tpm")
    if identity is not None:
        try:
            identity = str(uuid.UUID(identity))
        except ValueError:
            problems.add(f'firmware.uuid: "{identity}" is no UUID')
    problems.refuse()
    return Firmware(
        mode,
        options.get("secure_boot"),
        options.get("persistent"),
        options.get("tpm"),
        identity,
        options.get("serial"),
    )
