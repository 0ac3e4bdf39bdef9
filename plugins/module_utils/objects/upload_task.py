# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(image_upload): an image of this machine, checked, sent through CDI's upload proxy, and waited for.

An upload that was cut off left nothing: it begins anew, with a token of its own, until the time for it is over. Where
the worker of a run that was killed goes on with it, what it sent counts only if it is known to be the same image.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, BinaryIO

from ..cluster.client import Client
from ..cluster.declare import Outcome, remove
from ..cluster.endpoint import Broken, Endpoint, Pace, Reply, Trust
from ..cluster.errors import Forbidden, NotFound, NotServed
from ..cluster.resource import Object, Resource
from ..cluster.shown import difference
from ..cluster.verdict import deleted
from ..cluster.wait import wait
from ..machine.image_file import Image, read_image
from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from . import data_volumes, upload_target
from .cdi import CDI_CONFIG, CDI_CONFIG_NAME, DATA_VOLUME
from .core import PVC, STORAGE_CLASS
from .data_volume_tasks import VOLUMES
from .kubevirt import at
from .lifecycle import make
from .upload_target import CHECKSUM, TARGET, Place

ROUTE = Resource("route.openshift.io", "v1", "routes", "Route")
_TOKENS = "/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/{}/uploadtokenrequests"
_PATH = "/v1beta1/upload-async"
# Seconds for which a token is used; CDI lets it live for five minutes, and looks at it when a request begins.
_TOKEN_LIFE = 240.0
# Answers of a proxy whose upload server is not there yet, or is still busy with what was cut off.
_LATER = frozenset({429, 502, 503, 504})
# What the proxy says, with one of these, of a claim that will not take an image.
_NEVER = ("rejecting", "not an upload target")
# What they say of one that has an image.
_FILLED, _CONFLICT = "already finished uploading", 409
_UNAUTHORIZED = 401
# Answers without words.
_BUSY = {503: "another upload into it is under way, or its upload server is not there yet (status 503)"}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
# Times that an upload is begun that broke in the middle.
_ATTEMPTS = 5


def upload(client: Client, task: Task) -> Result:
    """Run a task of C(image_upload). Raises Failure, before anything is made where the image could not be used."""
    try:
        image = read_image(task.params["path"], task.progress, task.params["checksum"])
        return _Upload(client, task, image).run()
    except Refused as refused:
        raise Failure(" ".join(f"{problem}." for problem in refused.problems)) from refused


class _Upload:
    def __init__(self, client: Client, task: Task, image: Image) -> None:
        self._client = client
        self._task = task
        self._params: Mapping[str, Any] = task.params
        self._image = image
        self._class: str | None = None
        self._mark: str | None = image.sha256
        self._config = self._read_config()
        self._place = self._look()

    def run(self) -> Result:
        params, place = self._params, self._place
        if place.is_filled and place.annotations.get(CHECKSUM) == self._image.sha256:
            return self._result(self._declared(), uploaded=False)
        before = place.found or place.claim
        if params["replace"] and place.is_filled:
            self._clear()
        else:
            place.refuse_other(self._image, params["path"])
        if not place.is_there or (params["replace"] and place.is_filled):
            self._refuse_new()
        else:
            place.refuse_small(self._image, self._share())
            place.refuse_waiting()
        anew = params["replace"] and place.is_filled
        earlier = None if anew else place.annotations.get(CHECKSUM)
        self._mark = upload_target.candidates(earlier, self._image)
        outcome = self._declared(anew=anew)
        uploaded = not self._task.check_mode and self._fill(earlier)
        result = self._result(outcome, uploaded=uploaded)
        result["changed"] = True
        if self._task.diff:
            after = self._place.found if not self._task.check_mode else outcome.after
            result["diff"] = difference(self._place.resource, before, after)
        return result

    # What is there

    def _read_config(self) -> Object | None:
        try:
            return self._client.get(CDI_CONFIG, CDI_CONFIG_NAME)
        except Forbidden:
            return None

    def _look(self) -> Place:
        name, namespace, kind = self._params["name"], self._params["namespace"], self._params["target"]
        volume = self._client.get(DATA_VOLUME, name, namespace)
        claim = self._client.get(PVC, name, namespace)
        if kind == "pvc" and volume is not None:
            raise Failure(
                f"PersistentVolumeClaim {namespace}/{name} belongs to a DataVolume: upload into that, with target:"
                " data_volume."
            )
        if kind == "data_volume" and volume is None and claim is not None and not data_volumes.is_collected(claim):
            raise Failure(
                f"There is a claim {namespace}/{name}, but no DataVolume of that name: choose another name, or upload"
                " into the claim with target: pvc."
            )
        return Place(kind, name, namespace, volume, claim)

    def _share(self) -> float:
        name = at(self._place.claim, "spec.storageClassName") or self._params["storage_class"]
        return data_volumes.overhead(self._config, name)

    def _refuse_new(self) -> None:
        """Raises Failure where what is to be made could not take the image."""
        upload_target.disk_size(self._params, self._image)
        try:
            classes = self._client.list(STORAGE_CLASS).items
        except Forbidden:
            return
        found = upload_target.storage_class(self._params, classes)
        if found is None and self._params["storage_class"]:
            names = ", ".join(sorted(item["metadata"]["name"] for item in classes))
            raise Failure(f"storage_class: there is no {self._params['storage_class']}; there are {names}.")
        if found is None and classes:
            raise Failure("storage_class: the cluster has no default storage class; give the name of one.")
        upload_target.refuse_lazy_class(self._params, found, self._config)
        self._class = found["metadata"]["name"] if found else None

    # Making it

    def _clear(self) -> None:
        """Delete what is to be replaced."""
        place = self._place
        resource = place.resource if place.found is not None else PVC
        remove(self._client, resource, place.name, place.namespace, check_mode=self._task.check_mode)
        if self._task.check_mode:
            return
        for gone in (DATA_VOLUME, PVC):
            wait(
                self._client,
                gone,
                place.name,
                place.namespace,
                deleted,
                timeout=self._params["wait_timeout"],
                progress=self._task.progress,
            )

    def _declared(self, *, anew: bool = False) -> Outcome:
        """The target, made where it is not there, and marked with the image that it is to hold."""
        params, place = self._params, self._place
        live = None if anew else place.found
        if anew and self._task.check_mode:
            return Outcome(place.resource, "updated", place.found, None)
        if params["target"] == "pvc":
            return self._declared_claim(live)
        if live is None and place.claim is not None and not anew:
            return Outcome(DATA_VOLUME, "unchanged", None, None)
        size = upload_target.disk_size(params, self._image) if live is None else None
        options = {
            **dict.fromkeys((*data_volumes.SOURCE_OPTIONS, "content_type", "preallocation")),
            "priority_class": None,
            "adopt": False,
            "definition": None,
            **params,
            "upload": True,
            "size": size,
            "annotations": {**(params["annotations"] or {}), **self._marks()},
        }
        desired = data_volumes.manifest(params["name"], options, live, None)
        if live is not None:
            # How it is stored was decided when it was made.
            desired["spec"].pop("storage", None)
        return make(self._client, VOLUMES, desired, live, self._task)

    def _declared_claim(self, live: Object | None) -> Outcome:
        params = self._params
        if live is None:
            size = upload_target.disk_size(params, self._image)
            options = {**params, "storage_class": self._class or params["storage_class"]}
            body = upload_target.claim(options, self._marks(), size, self._share())
            made = self._client.create(PVC, body, dry_run=self._task.check_mode)
            return Outcome(PVC, "created", None, made)
        wanted = {**(params["annotations"] or {}), CHECKSUM: self._mark, TARGET: ""}
        present = self._place.annotations
        if all(present.get(name) == value for name, value in wanted.items()):
            return Outcome(PVC, "unchanged", live, live)
        patch = {"metadata": {"annotations": wanted}}
        after = self._client.patch(PVC, params["name"], params["namespace"], patch, dry_run=self._task.check_mode)
        return Outcome(PVC, "updated", live, after)

    def _marks(self) -> dict[str, str]:
        return {} if self._mark is None else {CHECKSUM: self._mark}

    # Filling it

    def _fill(self, earlier: str | None) -> bool:
        """Send the image and wait for it; C(earlier) is the mark that was there before.

        Whether it was this run that sent what is in the target.
        """
        place, timeout = self._place, self._params["wait_timeout"]
        ready = wait(
            self._client,
            place.resource,
            place.name,
            place.namespace,
            upload_target.ready(place.kind),
            timeout=timeout,
            progress=self._task.progress,
        )
        is_ours = not upload_target.is_filled(place.kind, ready) and self._send_until_done()
        wait(
            self._client,
            place.resource,
            place.name,
            place.namespace,
            upload_target.done(place.kind, upload_target.restarts(ready)),
            timeout=timeout,
            progress=self._task.progress,
        )
        self._place = self._look()
        self._settle(earlier, is_ours)
        return is_ours

    def _settle(self, earlier: str | None, is_ours: bool) -> None:
        """Mark it with what it holds. Raises Failure where another run filled it, and may have done so otherwise."""
        self._mark = self._image.sha256 if is_ours else earlier
        if self._place.annotations.get(CHECKSUM) != self._mark:
            self._declared()
            self._place = self._look()
        if self._mark != self._image.sha256:
            raise Failure(
                f"{self._place.label} was filled by another run meanwhile, which began with another image. Look what it"
                " holds, and set replace: true to delete it with its content and to upload anew."
            )

    def _endpoint(self) -> Endpoint:
        params = self._params
        transport = self._client.transport
        authority = at(self._config, "status.uploadProxyCA") or ""
        trust = Trust(
            verify=params["upload_proxy_validate_certs"],
            pem=(authority,) if authority.strip() else (),
            der=tuple(transport.authorities()),
            files=(params["upload_proxy_ca_cert"],) if params["upload_proxy_ca_cert"] else (),
        )
        return Endpoint(
            self._url(),
            "CDI's upload proxy",
            trust,
            transport,
            "Give the CA that signed it as upload_proxy_ca_cert; it is mostly that of the cluster's ingress.",
        )

    def _url(self) -> str:
        """Where the upload proxy is reached from outside. Raises Failure where nothing says so."""
        found = self._params["upload_proxy_url"] or at(self._config, "status.uploadProxyURL")
        if not found:
            found = self._routed()
        if not found:
            raise Failure(
                "No address of CDI's upload proxy is known: neither the CDIConfig nor a Route tells one. Expose the"
                " service cdi-uploadproxy, and give its address as upload_proxy_url."
            )
        return found if "://" in found else f"https://{found}"

    def _routed(self) -> str:
        try:
            routes = self._client.list(ROUTE, field_selector="metadata.name=cdi-uploadproxy").items
        except (Forbidden, NotServed, NotFound):
            return ""
        return next((str(at(route, "spec.host")) for route in routes if at(route, "spec.host")), "")

    def _token(self) -> str:
        namespace, name = self._place.namespace, self._place.name
        body = {
            "apiVersion": "upload.cdi.kubevirt.io/v1beta1",
            "kind": "UploadTokenRequest",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"pvcName": name},
        }
        answer = self._client.request("POST", _TOKENS.format(namespace), body=body)
        token = at(answer, "status.token")
        if not token:
            raise Failure(f"CDI gave no upload token for {self._place.label}. Look at the log of cdi-apiserver.")
        return str(token)

    def _send_until_done(self) -> bool:
        """Send the image, from its beginning each time, until it is taken or the time is over.

        Whether it is this that was taken, and not what another run sent.
        """
        endpoint = self._endpoint()
        deadline = time.monotonic() + self._params["wait_timeout"]
        token, since = self._token(), time.monotonic()
        pause, attempts, is_begun, is_sent = _FIRST_PAUSE, 0, False, False
        with open(self._params["path"], "rb") as file:
            while True:
                began = time.monotonic()
                if began - since > _TOKEN_LIFE:
                    token, since = self._token(), began
                attempts += 1
                reply, gone = self._attempt(endpoint, token, file)
                problem: Failure
                if isinstance(reply, Broken):
                    problem = reply
                    # Only the answer may have been lost.
                    is_sent = is_sent or gone == self._image.file_size
                    # A server that was there is waited for.
                    attempts -= is_begun and not gone
                    is_begun = is_begun or gone > 0
                else:
                    if reply.status < 300:
                        return True
                    if reply.status == _CONFLICT or _FILLED in reply.text:
                        return is_sent
                    problem = self._refused(reply)
                    if reply.status == _UNAUTHORIZED and attempts < _ATTEMPTS:
                        token, since = self._token(), time.monotonic()
                        continue
                    if reply.status not in _LATER or any(words in reply.text for words in _NEVER):
                        raise problem
                    # Nothing was taken of it.
                    attempts -= 1
                if gone:
                    # The time that sending takes is not counted; that of asking in vain is.
                    deadline += time.monotonic() - began
                if attempts >= _ATTEMPTS or time.monotonic() + pause > deadline:
                    raise problem
                self._task.progress(f"{problem.message} Beginning anew.")
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _attempt(self, endpoint: Endpoint, token: str, file: BinaryIO) -> tuple[Reply | Broken, int]:
        """What became of sending it once, and the bytes of it that were gone by then."""
        size, gone = self._image.file_size, 0
        pace = Pace(size, "uploaded", self._task.progress)

        def sent(done: int) -> None:
            nonlocal gone
            gone = done
            pace(done)

        try:
            reply = endpoint.send(_PATH, {"Authorization": f"Bearer {token}"}, file, size, sent)
        except Broken as broken:
            return broken, gone
        return reply, gone

    def _refused(self, reply: Reply) -> Failure:
        said = reply.text or _BUSY.get(reply.status) or f"status {reply.status}"
        advice = ""
        if reply.status == _UNAUTHORIZED:
            said = "the upload token is not accepted, or has expired"
            advice = " Compare the clocks of the cluster, and check that upload_proxy_url is of the same cluster."
        return Failure(f"{self._place.label} did not take the image: {said.rstrip('.')}.{advice}")

    def _result(self, outcome: Outcome, *, uploaded: bool) -> Result:
        result = {"changed": outcome.changed, **upload_target.tell(self._place, self._image, uploaded)}
        for warning in outcome.warnings:
            self._task.warn(warning)
        if self._task.diff:
            result["diff"] = outcome.diff()
        return result
