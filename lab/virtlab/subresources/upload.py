"""Upload tokens: C(uploadtokenrequests) of CDI's API server. A token is good for five minutes and one claim."""

from __future__ import annotations

import json

from virtlab.admission.webhook import at
from virtlab.datapath.upload_proxy import LEEWAY
from virtlab.status import StatusError
from virtlab.subresources.registry import Answer, Call, action

GROUP = "upload.cdi.kubevirt.io"
ISSUER = "cdi-apiserver"
SECONDS = 300


@action(f"uploadtokenrequests.{GROUP}", "", "POST", kind="UploadTokenRequest")
def request_upload_token(call: Call) -> Answer:
    """Signs a token whether or not the claim exists, as CDI does."""
    try:
        request = json.loads(call.body)
    except ValueError as error:
        raise StatusError(400, str(error), "BadRequest") from error
    now = int(call.cluster.clock.now().timestamp())
    asked = call.cluster.faults.token_lifetime()
    # The proxy takes a token for some seconds more; a rule of the lab's own means what it says.
    seconds = SECONDS if asked is None else asked - LEEWAY
    claims = {
        "exp": now + seconds,
        "iat": now,
        "iss": ISSUER,
        "name": at(request, "spec", "pvcName") or "",
        "namespace": call.namespace,
        "nbf": now,
        "operation": "Upload",
        "resource": {"group": "", "resource": "persistentvolumeclaims", "version": "v1"},
    }
    token = call.cluster.authenticator.tokens.sign(claims)
    return Answer(200, {**request, "status": {**(request.get("status") or {}), "token": token}})
