# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(image_download): a disk of the cluster in a local file, by an export that lives as long as it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..cluster.client import Client
from ..cluster.declare import remove
from ..cluster.errors import ClusterError
from ..cluster.fetch import Fetch, Fetched, Target, digests_of
from ..cluster.resource import Object
from ..cluster.verdict import deleted
from ..cluster.wait import wait
from ..machine.image_file import checksum_of
from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from . import exports
from .exports import SOURCES, Served
from .kubevirt import at
from .lifecycle import Course, make


def download(client: Client, task: Task) -> Result:
    """Run a task of C(image_download). Raises Failure; the target is then what it was before."""
    params = task.params
    try:
        checksum = checksum_of(params["checksum"])
    except Refused as refused:
        raise Failure(" ".join(f"{problem}." for problem in refused.problems)) from refused
    target = Target(Path(params["path"]), params["if_exists"], checksum)
    present = target.present()
    there = task.diff and target.path.exists()
    before = {"path": str(target.path), "sha256": digests_of(target.path)["sha256"]} if there else {}
    if present is not None:
        return _result(task, present, before)
    course = exports.course(client)
    if params["export"] is None:
        warning = exports.refuse_unready_source(client, params, task.check_mode)
        if warning:
            task.warn(warning)
    if task.check_mode:
        return _result(task, Fetched(str(target.path), 0, "", True), before)
    # Before the export is made, which another run to the same file would use as well, and delete.
    with target.held(params["wait_timeout"], task.progress) as waited:
        present = target.present() if waited else None
        if present is not None:
            return _result(task, present, before)
        export, is_ours = _export(client, task, course)
        try:
            ready = _await(client, task, course, export)
            found = fetch(task, exports.served(client, ready), params["volume"], params["format"], target)
        finally:
            if is_ours and not params["keep_export"]:
                _drop(client, task, course, export)
    return _result(task, found, before)


def _result(task: Task, found: Fetched, before: Mapping[str, str]) -> Result:
    known = bool(found.sha256)
    result: Result = {
        "changed": found.changed,
        # With the name path, Ansible would add what it sees of the file, only where a process of its own runs.
        "file": found.path,
        "size": found.size if known else None,
        "sha256": found.sha256 or None,
        "format": task.params["format"],
    }
    if task.diff:
        after = {"path": found.path, "sha256": found.sha256 or "to be fetched"}
        result["diff"] = {"before": before if found.changed else after, "after": after}
    return result


def _export(client: Client, task: Task, course: Course) -> tuple[Object, bool]:
    """The export to read from, and whether it is made for this."""
    params = task.params
    namespace = params["namespace"]
    if params["export"] is not None:
        found = client.get(course.resource, params["export"], namespace)
        if found is None:
            what = f"VirtualMachineExport {namespace}/{params['export']}"
            raise Failure(f"There is no {what}. Check export and namespace.")
        return found, False
    name = _name(params)
    live = client.get(course.resource, name, namespace)
    if at(live, "metadata.deletionTimestamp"):
        # An earlier run to the same file has just ended.
        wait(client, course.resource, name, namespace, deleted, timeout=params["wait_timeout"], progress=task.progress)
        live = None
    desired = exports.manifest(course.resource, name, params)
    after = make(client, course, desired, live, task).after
    if after is None:
        raise Failure(f"The export {namespace}/{name} was made, and is gone again.")
    return after, True


def _name(params: Mapping[str, Any]) -> str:
    """Of this source and target, so that another run finds what this one left."""
    option = next(option for option in SOURCES if params[option])
    text = "\0".join((option, params[option], str(Path(params["path"]).absolute())))
    return f"download-{params[option]}"[:50].rstrip("-.") + f"-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _await(client: Client, task: Task, course: Course, export: Object) -> Object:
    metadata = export["metadata"]
    found = wait(
        client,
        course.resource,
        metadata["name"],
        metadata["namespace"],
        course.check,
        timeout=task.params["wait_timeout"],
        progress=task.progress,
    )
    return found or export


def _drop(client: Client, task: Task, course: Course, export: Object) -> None:
    metadata = export["metadata"]
    try:
        remove(client, course.resource, metadata["name"], metadata["namespace"])
    except ClusterError as error:
        # It goes by itself, and what was fetched is fetched.
        task.warn(f"The export {metadata['namespace']}/{metadata['name']} was left behind: {error.message}")


def fetch(task: Task, served: Served, name: str | None, wanted: str, target: Target) -> Fetched:
    """Fetch a volume of an export into a file, which is held. Raises Failure."""
    volume = served.volume(name)
    endpoint, path = served.endpoint(served.link(volume, wanted))
    source = at(served.export, "spec.source")
    namespace = served.export["metadata"]["namespace"]
    identity = f"{namespace}/{source['kind']}/{source['name']}/{volume['name']}/{wanted}"
    getting = Fetch(endpoint, path, identity, served.headers, target, task.params["wait_timeout"], task.progress)
    return getting.run()
