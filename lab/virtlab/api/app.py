"""The HTTP server: who asks, what for, may they, and which handler answers."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Callable

import orjson
from aiohttp import web
from multidict import CIMultiDict

from virtlab.api import (
    control,
    crud,
    discovery,
    errors,
    lists,
    misbehaviour,
    negotiation,
    protobuf,
    scale,
    streams,
    tunnel,
)
from virtlab.api.crud import Request, Result
from virtlab.api.forms import entry_encoder, listed, marker, shown
from virtlab.api.paths import Target, parse
from virtlab.api.watch import Watch
from virtlab.auth.attributes import Attributes
from virtlab.auth.authentication import impersonate
from virtlab.catalog import AGGREGATED
from virtlab.cluster import Cluster
from virtlab.operation import User
from virtlab.resource import Resource
from virtlab.status import StatusError, bad_request, not_found
from virtlab.subresources.registry import Action, Answer, Call, actions

log = logging.getLogger(__name__)

BODY_LIMIT = 3 * 1024 * 1024
Handler = Callable[[Request], Result]
HANDLERS: dict[str, Handler] = {
    "get": crud.get,
    "create": crud.create,
    "update": crud.update,
    "patch": crud.patch,
    "delete": crud.delete,
    "deletecollection": crud.delete_collection,
}
ITEM_METHODS = frozenset({"GET", "PUT", "PATCH", "DELETE"})
COLLECTION_METHODS = frozenset({"GET", "POST", "DELETE"})
SUBRESOURCE_METHODS = frozenset({"GET", "PUT", "PATCH"})
CUSTOM_SUBRESOURCE_VERBS = frozenset({"get", "update", "patch"})
STORED_SUBRESOURCES = frozenset({"status", "scale"})


class Server:
    """Answers requests for one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.watches: set[Watch] = set()
        self.requests: Counter[str] = Counter()
        self.discovery = discovery.Discovery(cluster, discovery.documents(cluster))

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except StatusError as error:
            return self._stamped(errors.failure(error, _error_type(request)))
        except ConnectionError:
            return web.Response()  # nobody reads it any more
        except web.HTTPException:
            raise
        except Exception as error:
            log.exception("%s %s", request.method, request.path_qs)
            text = f"Internal error occurred: {error}"
            return self._stamped(errors.failure(StatusError(500, text, "InternalError")))

    def _stamped(self, response: web.Response) -> web.Response:
        response.headers["Audit-Id"] = str(uuid.uuid4())
        response.headers.setdefault("Cache-Control", "no-cache, private")
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        user = self._user(request)
        target = parse(request.method, request.path, request.query)
        if target.path.startswith(control.PREFIX):
            body = await request.read()
            if control.switches(request.method, target.path):
                return await control.switch(self.cluster, user, body)
            steered = control.answer(
                self.cluster, self.requests, user, request.method, target.path, request.query, body
            )
            misbehaviour.disturb(self.cluster, self.watches)
            return steered
        self.requests[_counted(target, "All" in request.query.getall("dryRun", []))] += 1
        fault = self.cluster.faults.hit("request", target.verb, target.path, user.name)
        if fault is None:
            return await self._executed(request, target, user)
        await misbehaviour.before(fault, request)
        response = await self._executed(request, target, user)
        return await misbehaviour.after(fault, request, response)

    async def _executed(self, request: web.BaseRequest, target: Target, user: User) -> web.StreamResponse:
        self.cluster.authorizer.require(user, _attributes(target))
        if not target.is_resource:
            answer = self.discovery.answer(request.method, target.path, request.headers.get("Accept", ""))
            return self._stamped(answer)
        if acting := actions(_qualified(target), target.subresource):
            return await self._act(request, target, user, acting)
        resource = self.cluster.catalog.find(target.group, target.version, target.plural)
        if resource is None or (target.namespace and not resource.namespaced and target.plural != "namespaces"):
            if self.cluster.catalog.is_built_in(target.group):
                raise errors.no_route()
            return self._stamped(errors.page_not_found())
        asked = Request(
            self.cluster,
            target,
            resource,
            user,
            request.query,
            request.headers,
            await request.read() if request.body_exists else b"",
            request.query.getall("dryRun", []),
        )
        if not _has_route(asked, request.method):
            return self._stamped(errors.page_not_found())
        if target.verb == "watch":
            return await self._watch(request, asked)
        if target.verb == "list":
            return self._stamped(self._list(asked))
        return self._stamped(self._single(asked))

    def _user(self, request: web.BaseRequest) -> User:
        transport = request.transport
        tls = transport.get_extra_info("ssl_object") if transport is not None else None
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        user = self.cluster.authenticator.authenticate(request.headers.get("Authorization"), certificate)
        return impersonate(self.cluster.authorizer, user, request.headers.items())

    def _single(self, asked: Request) -> web.Response:
        accept = _accepted(asked)
        handlers = scale.HANDLERS if asked.target.subresource == "scale" else HANDLERS
        result = handlers[asked.target.verb](asked)
        body = shown(result.object, asked.resource, self.cluster, accept, asked.query)
        headers = CIMultiDict([("Content-Type", accept.media_type), *errors.warning_header(asked.warnings)])
        return web.Response(status=result.code, body=body, headers=headers)

    def _list(self, asked: Request) -> web.Response:
        accept = _accepted(asked)
        page = lists.page(asked)
        body = listed(page, asked.resource, self.cluster, accept, asked.query)
        return web.Response(body=body, headers={"Content-Type": accept.media_type})

    async def _watch(self, request: web.BaseRequest, asked: Request) -> web.StreamResponse:
        accept = _accepted(asked)
        encode = entry_encoder(asked.resource, self.cluster, accept, asked.query)
        watch = Watch(asked, encode, marker(accept))
        response = web.StreamResponse(headers={"Content-Type": negotiation.JSON, "Cache-Control": "no-cache, private"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        self.watches.add(watch)
        misbehaviour.disturb(self.cluster, {watch})
        try:
            async for line in watch.lines():
                await response.write(line)
        finally:
            self.watches.discard(watch)
        if watch.cut:
            misbehaviour.hang_up(request)
        else:
            await response.write_eof()
        return response

    async def _act(
        self, request: web.BaseRequest, target: Target, user: User, acting: list[Action]
    ) -> web.StreamResponse:
        resource = self.cluster.catalog.find(target.group, target.version, target.plural) or Resource(
            target.group, target.version, acting[0].kind, target.plural, custom=False
        )
        chosen = next((action for action in acting if request.method in action.methods), None)
        if chosen is None and target.group not in AGGREGATED:
            raise errors.no_such_method()
        if chosen is None:
            methods = {method for action in acting for method in action.methods}
            return self._stamped(errors.method_not_allowed(methods))
        call = Call(
            self.cluster,
            resource,
            target.subresource,
            request.method,
            target.namespace or None,
            target.name,
            _as_json(await request.read() if request.body_exists else b"", request.headers.get("Content-Type", "")),
            request.query,
            request.headers,
            user,
        )
        answer = chosen.handler(call)
        if answer.later is not None:
            answer = await answer.later()
        if answer.stream is not None:
            return await streams.serve(request, answer.stream)
        if answer.ports is not None:
            return await tunnel.serve(request, answer.ports)
        if answer.chunks is not None:
            return await streams.send(request, answer.chunks)
        return self._stamped(_answered(answer))


def _has_route(asked: Request, method: str) -> bool:
    """Whether the resource does that; raises the Status of those that say why not."""
    resource, target = asked.resource, asked.target
    unknown = target.subresource and target.subresource not in resource.subresources & STORED_SUBRESOURCES
    if resource.custom:
        if resource.namespaced and not target.namespace and target.verb not in ("list", "watch"):
            return False
        if unknown:
            raise not_found(resource, target.name)
        named = target.verb in ("update", "patch") and not target.name  # the handler asks for the name
        verbs = CUSTOM_SUBRESOURCE_VERBS if target.subresource else resource.verbs
        if not (named or target.verb in verbs):
            raise errors.not_supported(resource, target.verb)
        return True
    homeless = resource.namespaced and not target.namespace
    if unknown or (homeless and target.name):
        raise errors.no_route()
    methods = ITEM_METHODS if target.name else COLLECTION_METHODS
    if target.subresource:
        methods = SUBRESOURCE_METHODS
    if homeless:
        methods = frozenset({"GET"})
    if method not in methods or not (target.verb in resource.verbs or target.subresource):
        raise errors.no_such_method()
    return True


def _as_json(body: bytes, content_type: str) -> bytes:
    """Actions read JSON; what kubectl sends in another encoding is turned into it."""
    if negotiation.media_type_of(content_type) != negotiation.PROTOBUF:
        return body
    try:
        return orjson.dumps(protobuf.decode(body))
    except protobuf.ProtobufError as error:
        raise bad_request(str(error)) from None


def _answered(answer: Answer) -> web.Response:
    if answer.body is None:
        return web.Response(status=answer.status)
    if isinstance(answer.body, (str, bytes)):
        raw = answer.body.encode() if isinstance(answer.body, str) else answer.body
        return web.Response(
            status=answer.status, body=raw, headers={"Content-Type": answer.content_type or errors.PLAIN}
        )
    body = negotiation.encoded(answer.body, negotiation.JSON)
    return web.Response(
        status=answer.status, body=body, headers={"Content-Type": answer.content_type or negotiation.JSON}
    )


def _accepted(asked: Request) -> negotiation.Accepted:
    pretty = asked.query.get("pretty", "") in ("true", "1")
    return negotiation.accepted(asked.headers.get("Accept", ""), asked.resource.custom, pretty=pretty)


def _error_type(request: web.BaseRequest) -> str:
    accept = request.headers.get("Accept", "")
    return negotiation.YAML if accept.strip().startswith(negotiation.YAML) else negotiation.JSON


def _qualified(target: Target) -> str:
    return f"{target.plural}.{target.group}" if target.group else target.plural


def _attributes(target: Target) -> Attributes:
    if not target.is_resource:
        return Attributes(target.verb, path=target.path)
    return Attributes(
        target.verb,
        target.group,
        target.version,
        target.plural,
        target.subresource,
        target.namespace,
        target.name,
    )


def _counted(target: Target, dry_run: bool) -> str:
    """The line under which a request is counted, e.g. C(list virtualmachines.kubevirt.io)."""
    verb = f"dry-run {target.verb}" if dry_run else target.verb
    if not target.is_resource:
        return f"{verb} {target.path}"
    name = f"{target.plural}.{target.group}" if target.group else target.plural
    return f"{verb} {name}/{target.subresource}" if target.subresource else f"{verb} {name}"
