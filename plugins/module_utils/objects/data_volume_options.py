# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of C(data_volume): where its content comes from, and what it is."""

from __future__ import annotations

from typing import Any

from ..machine.disks import ACCESS_MODES, VOLUME_MODES


def _text(**more: Any) -> dict[str, Any]:
    return {"type": "str", **more}


def _mapping(**options: dict[str, Any]) -> dict[str, Any]:
    return {"type": "dict", "options": options}


_URL = {"url": _text(required=True)}
# The name of a Secret is no secret.
_SECRET = {"secret": _text(no_log=False)}
_CA = {"cert_config_map": _text()}
_ORIGIN = {"name": _text(required=True), "namespace": _text()}

SOURCE_SPEC: dict[str, dict[str, Any]] = {
    "blank": {"type": "bool"},
    "upload": {"type": "bool"},
    "http": _mapping(
        **_URL,
        **_SECRET,
        **_CA,
        extra_headers={"type": "list", "elements": "str", "no_log": True},
        secret_extra_headers={"type": "list", "elements": "str", "no_log": False},
        checksum=_text(),
    ),
    "registry": _mapping(
        url=_text(),
        image_stream=_text(),
        pull_method=_text(choices=["pod", "node"]),
        architecture=_text(),
        **_SECRET,
        **_CA,
    ),
    "s3": _mapping(**_URL, **_SECRET, **_CA),
    "gcs": _mapping(**_URL, **_SECRET),
    "imageio": _mapping(**_URL, **_SECRET, **_CA, disk_id=_text(required=True), insecure_skip_verify={"type": "bool"}),
    "vddk": _mapping(
        **_URL,
        secret=_text(required=True, no_log=False),
        uuid=_text(required=True),
        backing_file=_text(required=True),
        thumbprint=_text(required=True),
        init_image_url=_text(),
        extra_args=_text(),
    ),
    "clone_pvc": _mapping(**_ORIGIN),
    "clone_snapshot": _mapping(**_ORIGIN),
    "boot_source": _mapping(**_ORIGIN),
}
VOLUME_SPEC: dict[str, dict[str, Any]] = {
    "size": _text(),
    "storage_class": _text(),
    "access_modes": {"type": "list", "elements": "str", "choices": list(ACCESS_MODES)},
    "volume_mode": _text(choices=list(VOLUME_MODES)),
    "content_type": _text(choices=["kubevirt", "archive"]),
    "preallocation": {"type": "bool"},
    "priority_class": _text(),
    "bind_immediately": {"type": "bool", "default": False},
    "adopt": {"type": "bool", "default": False},
    "recreate_unfilled": {"type": "bool", "default": False},
    "definition": {"type": "dict"},
    "labels": {"type": "dict"},
    "annotations": {"type": "dict"},
}
