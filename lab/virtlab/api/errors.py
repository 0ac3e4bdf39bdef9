"""Answers that are no object: Status objects, and the plain texts of the mux."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from virtlab.api.negotiation import JSON, encoded
from virtlab.resource import Resource
from virtlab.status import StatusError

PLAIN = "text/plain; charset=utf-8"


def failure(error: StatusError, media_type: str = JSON) -> web.Response:
    return web.Response(
        status=error.code,
        body=encoded(error.body(), media_type),
        headers={"Content-Type": media_type, **error.headers},
    )


def page_not_found() -> web.Response:
    return web.Response(
        status=404,
        body=b"404 page not found\n",
        headers={"Content-Type": PLAIN, "X-Content-Type-Options": "nosniff"},
    )


def no_route() -> StatusError:
    """As kube-apiserver answers below an API that is built in."""
    return StatusError(404, "the server could not find the requested resource", "NotFound")


def no_such_method() -> StatusError:
    """As kube-apiserver answers for a built-in route that other methods have."""
    return StatusError(405, "the server does not allow this method on the requested resource", "MethodNotAllowed")


def method_not_allowed(methods: Iterable[str]) -> web.Response:
    """As the API servers behind kube-apiserver answer: go-restful's own words."""
    return web.Response(
        status=405,
        body=b"405: Method Not Allowed",
        headers={"Content-Type": PLAIN, "Allow": ", ".join(sorted(methods))},
    )


def not_supported(resource: Resource, verb: str) -> StatusError:
    """As the handler of custom resources answers."""
    return StatusError(
        405,
        f'{verb} is not supported on resources of kind "{resource.qualified}"',
        "MethodNotAllowed",
        {key: value for key, value in (("group", resource.group), ("kind", resource.plural)) if value},
    )


def warning_header(texts: Iterable[str]) -> list[tuple[str, str]]:
    """RFC 7234 Warning headers, each text once."""
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in dict.fromkeys(texts))
    return [("Warning", f'299 - "{text}"') for text in escaped]
