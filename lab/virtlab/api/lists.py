"""LIST: pages, consistent across pages through continue tokens, joined from cached bytes."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from virtlab.api.crud import Request
from virtlab.api.negotiation import go_json_error
from virtlab.api.options import integer, resource_version
from virtlab.resource import Object, Resource
from virtlab.selectors import selector
from virtlab.status import Cause, StatusError, bad_request
from virtlab.store import Entry, Expired, head

MATCHES = ("Exact", "NotOlderThan")
TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True)
class Page:
    """C(remaining) is None where selectors make it unknown."""

    entries: list[Entry]
    version: int
    more: str = ""
    remaining: int | None = None

    @property
    def metadata(self) -> Object:
        metadata: Object = {"resourceVersion": str(self.version)}
        if self.more:
            metadata["continue"] = self.more
        if self.more and self.remaining:
            metadata["remainingItemCount"] = self.remaining
        return metadata


def encode_continue(version: int, start: str) -> str:
    """apiserver's storage.EncodeContinue: the first path of the next page, after the resource's prefix."""
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start})
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def decode_continue(token: str) -> tuple[int, str]:
    """The version (-1: whatever is newest) and the path to begin at; raises 400 as the server words it."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid_token(
            f"continue key is not valid: illegal base64 data at input byte {_bad_byte(token)}"
        ) from None
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise _invalid_token(f"continue key is not valid: {_go_latin_error(raw)}") from None
    if not isinstance(value, dict) or value.get("v") != "meta.k8s.io/v1":
        shown = value.get("v", "") if isinstance(value, dict) else ""
        raise _invalid_token(
            f"continue key is not valid: server does not recognize this encoded version {orjson.dumps(shown).decode()}"
        )
    version, start = value.get("rv", 0), value.get("start", "")
    if version == 0:
        raise _invalid_token(
            "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
        )
    if not start:
        raise _invalid_token("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
    return version, start


def _invalid_token(why: str) -> StatusError:
    return bad_request(f"invalid continue token: {why}")


def _bad_byte(token: str) -> int:
    allowed = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    return next((index for index, char in enumerate(token) if char not in allowed), len(token))


def _go_latin_error(raw: bytes) -> str:
    """encoding/json names the offending byte, not the rune."""
    if raw and (raw[0] >= 0x80 or raw[0] < 0x20):
        shown = f"\\u{raw[0]:04x}" if raw[0] < 0xA0 or raw[0] == 0xAD else chr(raw[0])
        return f"invalid character '{shown}' looking for beginning of value"
    return go_json_error(raw)


def page(request: Request) -> Page:
    """The entries that the request asks for."""
    query, cluster, resource = request.query, request.cluster, request.resource
    label_text, field_text = query.get("labelSelector", ""), query.get("fieldSelector", "")
    selects = selector(resource, label_text, field_text, cluster.catalog.selectable(resource))
    limit = max(integer(query["limit"]), 0) if query.get("limit") else 0
    if query.get("timeoutSeconds"):
        integer(query["timeoutSeconds"])
    token, asked, match = (
        query.get("continue", ""),
        query.get("resourceVersion", ""),
        query.get("resourceVersionMatch", ""),
    )
    _check_match(token, asked, match)
    store = cluster.store
    version, start = store.version, ""
    if token:
        version, start = decode_continue(token)
        if asked not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        version = store.version if version < 0 else version
    else:
        _check_version(asked)
        cluster.reached(asked)
        if asked not in ("", "0") and (match == "Exact" or (limit and not match)):
            version = int(asked)
    try:
        entries = store.entries_at(resource.key, request.namespace, version)
    except Expired as error:
        raise _expired(error, start) from None
    prefix = f"{request.namespace}/" if request.namespace else ""
    if start:
        entries = entries[bisect_left(entries, prefix + start, key=lambda entry: entry.path) :]
    return _cut(entries, selects, limit, version, prefix)


def _cut(entries: list[Entry], selects: Callable[[Object], bool] | None, limit: int, version: int, prefix: str) -> Page:
    if selects is None:
        if not limit or len(entries) <= limit:
            return Page(entries, version)
        more = encode_continue(version, entries[limit].path.removeprefix(prefix))
        return Page(entries[:limit], version, more, len(entries) - limit)
    found: list[Entry] = []
    for entry in entries:
        if selects(entry.object):
            if limit and len(found) == limit:
                return Page(found, version, encode_continue(version, entry.path.removeprefix(prefix)))
            found.append(entry)
    return Page(found, version)


def _check_version(asked: str) -> None:
    try:
        resource_version(asked or "0")
    except StatusError as error:
        raise bad_request(f"invalid resource version: {error.message}") from None


def _check_match(token: str, asked: str, match: str) -> None:
    def forbidden(text: str) -> StatusError:
        cause = Cause(f"Forbidden: {text}", "resourceVersionMatch", "FieldValueForbidden")
        message = f'ListOptions.meta.k8s.io "" is invalid: {cause.field}: {cause.message}'
        return StatusError(422, message, "Invalid", {"group": "meta.k8s.io", "kind": "ListOptions"}, (cause,))

    if not match:
        return
    if token:
        raise forbidden("resourceVersionMatch is forbidden when continue is provided")
    if not asked:
        raise forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match not in MATCHES:
        supported = ", ".join(f'"{value}"' for value in (*MATCHES, ""))
        cause = Cause(
            f'Unsupported value: "{match}": supported values: {supported}',
            "resourceVersionMatch",
            "FieldValueNotSupported",
        )
        message = f'ListOptions.meta.k8s.io "" is invalid: {cause.field}: {cause.message}'
        raise StatusError(422, message, "Invalid", {"group": "meta.k8s.io", "kind": "ListOptions"}, (cause,))
    if match == "Exact" and asked == "0":
        raise forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"')


def _expired(error: Expired, start: str) -> StatusError:
    if not start:
        return StatusError(410, str(error), "Expired")
    return StatusError(410, TOO_OLD, "Expired", metadata={"continue": encode_continue(-1, start)})


def pieces(entries: Iterable[Entry], resource: Resource, convert: Callable[[Entry], bytes] | None) -> bytes:
    """The items of a list, comma-separated. Those of built-in kinds carry no apiVersion and kind."""
    if convert is not None:
        return b",".join(convert(entry) for entry in entries)
    prefix = head(resource.api_version, resource.kind) if resource.custom else b"{"
    tails = [entry.tail for entry in entries]
    return prefix + (b"," + prefix).join(tails) if tails else b""


def body(listed: Page, resource: Resource, convert: Callable[[Entry], bytes] | None = None) -> bytes:
    start = orjson.dumps(
        {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": listed.metadata}
    )
    return start[:-1] + b',"items":[' + pieces(listed.entries, resource, convert) + b"]}"
