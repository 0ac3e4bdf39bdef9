# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(vm_export): an export, and what is done with it - manifests, files, an import elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..cluster.client import Client
from ..cluster.declare import read_many
from ..cluster.resource import Object
from ..known import known
from ..libraries import yaml
from ..machine.image_file import checksum_of
from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from ..whole_file import write_whole
from . import exports
from .download_task import fetch
from .exports import SOURCES, Served
from .import_task import Import
from .kubevirt import at
from .lifecycle import Course, Group, Made, carry_out, discard, make

# Bytes of manifests that are read at most.
_LONGEST = 16 * 1024**2
_NEED_WAIT = ("manifest_dest", "download_dest", "import_to")


def export_source(client: Client, task: Task) -> Result:
    """Run a task of C(vm_export). Raises Failure."""
    params = task.params
    course = exports.course(client)
    option = next((option for option in SOURCES if params[option]), None)
    name = params["name"] or (params[option] if option else None)
    if name is None:
        raise Failure("name: is missing, and no source says what it could be.")
    if params["state"] == "absent":
        group = Group(course, params["namespace"], [name], _never, _told, "exports")
        return discard(client, task, group)
    if option is None:
        raise Failure(f"An export needs a source: one of {', '.join(SOURCES)}.")
    for needed in _NEED_WAIT:
        if params[needed] and not params["wait"]:
            raise Failure(f"{needed}: can only be done when the export is ready; set wait: true as well.")
    if params["checksums"] and not params["download_dest"]:
        raise Failure("checksums: are those of files in download_dest; give that as well.")
    return _Export(client, task, course, name).run()


def _never(name: str, found: Object | None) -> Made:
    raise AssertionError(f"{name} is only to be deleted, not made: {found is not None}")


_NOTHING_DONE: Result = {"manifest_file": None, "files": [], "imported": None}


def _told(found: Object | None) -> Result:
    return {**exports.tell(found), **_NOTHING_DONE}


def _checksums(given: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    try:
        return {name: known(checksum_of(str(value))) for name, value in given.items()}
    except Refused as refused:
        raise Failure(
            " ".join(f"checksums: {problem.partition(': ')[2]}." for problem in refused.problems)
        ) from refused


class _Export:
    def __init__(self, client: Client, task: Task, course: Course, name: str) -> None:
        self._client = client
        self._task = task
        self._params = task.params
        self._course = course
        self._name = name
        self._import = Import(client, task) if task.params["import_to"] else None
        self._checksums = _checksums(task.params["checksums"] or {})

    def run(self) -> Result:
        namespace = self._params["namespace"]
        live = read_many(self._client, self._course.resource, [(namespace, self._name)])
        if self._import is not None and self._import.is_done() and not self._has_other_work():
            found = live.get((namespace, self._name))
            changed = self._import.tidy()
            item = {"name": self._name, "namespace": namespace, "changed": changed, **_told(found)}
            return {"changed": changed, "exports": [{**item, "imported": self._import.told()}]}
        group = Group(
            self._course, namespace, [self._name], self._make, exports.tell, "exports", finish=self._finish, live=live
        )
        return carry_out(self._client, self._task, group)

    def _has_other_work(self) -> bool:
        return bool(self._params["manifest_dest"] or self._params["download_dest"])

    def _make(self, name: str, found: Object | None) -> Made:
        if found is None or self._course.has_failed(found):
            warning = exports.refuse_unready_source(self._client, self._params, self._task.check_mode)
            if warning:
                self._task.warn(warning)
        desired = exports.manifest(self._course.resource, name, self._params)
        return make(self._client, self._course, desired, found, self._task), dict(_NOTHING_DONE)

    def _finish(self, name: str, found: Object, made: Made) -> Result:
        if self._task.check_mode:
            return {"changed": True} if self._would_act(made) else {}
        if not any(self._params[option] for option in _NEED_WAIT):
            return {}
        served = exports.served(self._client, found)
        done: Result = {}
        changed = False
        if self._params["manifest_dest"]:
            written = self._write_manifests(served)
            changed = changed or written
            done["manifest_file"] = self._params["manifest_dest"]
        if self._params["download_dest"]:
            done["files"] = self._download(served)
            changed = changed or any(item["changed"] for item in done["files"])
        if self._import is not None and not self._import.is_done():
            done["imported"] = self._import.run(served, self._manifests(served, secret=True))
            changed = True
        elif self._import is not None:
            done["imported"] = self._import.told()
            changed = self._import.tidy() or changed
        return {**done, "changed": changed}

    def _would_act(self, made: Made) -> bool:
        params = self._params
        missing = params["manifest_dest"] and not Path(params["manifest_dest"]).exists()
        return bool(made[0].changed or missing or self._import is not None)

    # Manifests

    def _manifests(self, served: Served, *, secret: bool) -> list[Object]:
        """What the export says how it is imported. Claims have no manifests but that of the secret."""
        links = {item["type"]: item["url"] for item in at(served.export, f"status.links.{served.side}.manifests") or ()}
        wanted = ["all", *(["auth-header-secret"] if secret else [])]
        objects: list[Object] = []
        for kind in wanted:
            if kind in links:
                objects += self._objects(served, links[kind])
        if not objects:
            raise Failure(
                f"The export {served.export['metadata']['name']} has no manifests: those of claims have none."
            )
        return objects

    def _objects(self, served: Served, url: str) -> list[Object]:
        endpoint, path = served.endpoint(url)
        headers = {**served.headers(), "Accept": "application/json"}
        with endpoint.open(path, headers) as response:
            data = b"".join(endpoint.pieces(response))[: _LONGEST + 1]
            if response.status != 200:
                raise Failure(f"{endpoint.what} does not give its manifests: it answered {response.status}.")
        if len(data) > _LONGEST:
            raise Failure(f"The manifests of {endpoint.what} are longer than {_LONGEST} bytes, which is nonsense.")
        try:
            found: Any = json.loads(data)
            return list(found["items"]) if found.get("kind") == "List" else [found]
        except (ValueError, KeyError, AttributeError):
            raise Failure(f"{endpoint.what} gives manifests that are none.") from None

    def _write_manifests(self, served: Served) -> bool:
        """Whether the file had to be written. With the secret in it, nobody else may read it."""
        secret = self._params["include_secret"]
        path = Path(self._params["manifest_dest"])
        if path.is_dir():
            raise Failure(f"manifest_dest: {path} is a directory. Give the path of the file to write.")
        text = yaml.safe_dump_all(self._manifests(served, secret=secret), sort_keys=True)
        try:
            if path.is_file() and path.read_text() == text:
                return False
            write_whole(path, text.encode(), 0o600 if secret else 0o644)
        except OSError as error:
            raise Failure(
                f"manifest_dest: {path} cannot be written: {error.strerror}. Nothing was kept of it."
            ) from None
        return True

    # Files

    def _download(self, served: Served) -> list[Result]:
        params = self._params
        directory = params["download_dest"]
        if not Path(directory).is_dir():
            raise Failure(f"download_dest: there is no directory {directory}. Make it first.")
        volumes = [str(item.get("name")) for item in at(served.export, f"status.links.{served.side}.volumes")]
        if unknown := sorted(set(self._checksums) - set(volumes)):
            raise Failure(
                f"checksums: the export has no volume {', '.join(unknown)}; it has {', '.join(volumes)}. Nothing was"
                " fetched."
            )
        targets = {
            name: exports.within(directory, name, params["format"], params["if_exists"], self._checksums.get(name))
            for name in volumes
        }
        # All are looked at before the first is fetched.
        present = {name: target.present() for name, target in targets.items()}
        files = []
        for name, target in targets.items():
            found = present[name]
            if found is None:
                with target.held(params["wait_timeout"], self._task.progress) as waited:
                    found = target.present() if waited else None
                    found = found or fetch(self._task, served, name, params["format"], target)
            told = {"volume": name, "file": found.path, "size": found.size, "sha256": found.sha256}
            files.append({**told, "changed": found.changed})
        return files
