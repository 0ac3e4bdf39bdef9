# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Containerized Data Importer: DataVolumes, what their phases mean, and when an import cannot succeed any more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict

GROUP = "cdi.kubevirt.io"
HINT = "CDI is not installed on this cluster; install it with virtstack.core.operator"

DATA_VOLUME = Resource(
    GROUP, "v1beta1", "datavolumes", "DataVolume", secrets=("spec.source.http.extraHeaders",), hint=HINT
)
DATA_SOURCE = Resource(GROUP, "v1beta1", "datasources", "DataSource", hint=HINT)
CDI_CONFIG = Resource(GROUP, "v1beta1", "cdiconfigs", "CDIConfig", namespaced=False, hint=HINT)
CDI_CONFIG_NAME = "config"
VOLUME_SNAPSHOT = Resource(
    "snapshot.storage.k8s.io",
    "v1",
    "volumesnapshots",
    "VolumeSnapshot",
    hint="the cluster has no CSI snapshot controller",
)

# Namespace in which OpenShift Virtualization keeps its boot sources.
BOOT_SOURCES = "openshift-virtualization-os-images"

# The volume is bound, and filled, only when a guest starts that uses it.
WAITS_FOR_CONSUMER = frozenset({"WaitForFirstConsumer", "PendingPopulation"})

# What the importer says when trying again does not help. It tries again for ever.
_HOPELESS = re.compile(
    r"status code 4(?!08|29)\d\d|\b40[0134]\b|unauthorized|forbidden|not found|no such host|manifest unknown"
    r"|x509|certificate|unsupported|invalid|is larger than|not large enough|no space left|access denied|too small",
    re.IGNORECASE,
)
# Reasons for which a clone does not begin, and what to do. They are told anew a moment after the source has come.
_SOURCELESS = {
    "CloneWithoutSource": "CDI begins as soon as the source is there: make it and run this again, or name another",
    "CloneValidationFailed": "Clone into a volume that fits the source, or name another source",
}
# That of another machine or of the task before is made by several controllers, of which each may be busy.
_SOURCE_PATIENCE = 10.0
# Restarts of the importer after which its message is believed whatever it is.
_RESTARTS = 3

_VERBS = {"Import": "imported", "Clone": "cloned", "CSIClone": "cloned", "SnapshotForSmartClone": "cloned"}


def phase(volume: Mapping[str, Any] | None) -> str:
    """The DataVolume's phase; empty before the controller has seen it."""
    return str(((volume or {}).get("status") or {}).get("phase") or "")


def restarts(volume: Mapping[str, Any] | None) -> int:
    """How often the importer began anew."""
    return int(((volume or {}).get("status") or {}).get("restartCount") or 0)


def trouble(volume: Object, since: int = 0) -> str | None:
    """Why the DataVolume cannot get its content any more, in CDI's words; None while it can.

    C(since) are the restarts that were counted when it was begun to wait: what was said before then may be mended.
    """
    status = volume.get("status") or {}
    by_type = {item["type"]: item for item in status.get("conditions") or ()}
    running = by_type.get("Running", {})
    message = str(running.get("message") or "")
    if phase(volume) == "Failed":
        return message or str(by_type.get("Ready", {}).get("message") or "") or "it failed"
    failing = running.get("status") == "False" and running.get("reason") == "Error" and message
    count = restarts(volume)
    is_new = count > since or since == 0
    if failing and is_new and (_HOPELESS.search(message) or count >= since + _RESTARTS):
        return message
    bound = by_type.get("Bound", {})
    if bound.get("reason") in ("ErrClaimNotValid", "ErrExceededQuota", "ErrClaimLost"):
        return str(bound.get("message") or bound["reason"])
    return None


def sourceless(volume: Object) -> str | None:
    """Why a clone has not begun: its source is missing, or not such as can be cloned; None where it can begin.

    CDI begins once there is one. Source: CDI's pkg/controller/datavolume/pvc-clone-controller.go.
    """
    for condition in (volume.get("status") or {}).get("conditions") or ():
        if condition.get("type") in ("Bound", "Ready") and condition.get("reason") in _SOURCELESS:
            said = str(condition.get("message") or condition["reason"]).rstrip(".")
            return f"{condition['reason']}: {said}. {_SOURCELESS[condition['reason']]}"
    return None


def progress(volume: Object) -> str:
    """How far it is: C(43 % imported), or its phase where there is no figure."""
    share = str((volume.get("status") or {}).get("progress") or "")
    figure = re.match(r"(\d+)(?:\.\d+)?%", share)
    verb = next((verb for prefix, verb in _VERBS.items() if phase(volume).startswith(prefix)), None)
    return f"{figure[1]} % {verb or 'filled'}" if figure else phase(volume) or "not yet seen by CDI"


def check(volume: Object | None) -> Verdict:
    """Whether a DataVolume has its content."""
    return check_since({})(volume)


def check_since(counted: Mapping[str, int]) -> Check:
    """The same, for volumes that may be failing as yet: C(counted) are their restarts until now, by their names."""

    def checked(volume: Object | None) -> Verdict:
        if volume is None:
            return Progress("not yet created")
        reason = trouble(volume, counted.get(volume["metadata"]["name"], 0))
        if reason is not None:
            return Failed(reason)
        missing = sourceless(volume)
        if missing is not None:
            return Failed(missing, _SOURCE_PATIENCE)
        return Ready() if phase(volume) == "Succeeded" else Progress(progress(volume))

    return checked
