"""Who a request comes from: bearer token, client certificate, impersonation headers."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from cryptography import x509
from cryptography.x509.oid import NameOID

from virtlab.auth.attributes import Attributes
from virtlab.auth.rbac import SERVICE_ACCOUNT, Authorizer
from virtlab.auth.tokens import LEGACY_CLAIM, LEGACY_ISSUER, InvalidToken, TokenAuthority
from virtlab.goformat import quoted, string_slice
from virtlab.operation import User
from virtlab.status import bad_request, unauthorized

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"

BOUND_KINDS = {"pod": "pods", "secret": "secrets", "node": "nodes"}


def service_account_user(
    namespace: str, name: str, uid: str = "", extra: dict[str, tuple[str, ...]] | None = None
) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"{SERVICE_ACCOUNT}{namespace}:{name}", groups, uid, extra or {})


class Authenticator:
    """C(static) maps fixed tokens, such as that of the administrator's kubeconfig, to users."""

    def __init__(self, cluster: Cluster, tokens: TokenAuthority, static: Mapping[str, User] | None = None) -> None:
        self.cluster = cluster
        self.tokens = tokens
        self.static = dict(static or {})

    def authenticate(self, authorization: str | None, certificate: bytes | None = None) -> User:
        """The user of a request. Raises 401 for a token that is wrong or over; no credentials are the anonymous user.

        C(authorization) is the header's value, C(certificate) a verified client certificate (DER).
        """
        if certificate is not None:
            return certificate_user(certificate)
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        return self.token_user(token.strip())

    def token_user(self, token: str, audiences: Sequence[str] = ()) -> User:
        """The user of a bearer token meant for one of C(audiences), the API server's own by default; raises 401."""
        for known, user in self.static.items():
            if hmac.compare_digest(known, token):
                return user
        try:
            claims = self.tokens.verify(token)
            if claims.get("iss") == LEGACY_ISSUER:
                return self._legacy_user(claims)
            if not set(audiences or (self.tokens.issuer,)) & set(claims.get("aud", ())):
                raise InvalidToken("the token is for another audience")
            return self._bound_user(claims)
        except InvalidToken as error:
            raise unauthorized() from error

    def _account_uid(self, namespace: str, name: str) -> str:
        entry = self.cluster.store.find(("", "serviceaccounts"), namespace, name)
        if entry is None:
            raise InvalidToken("the service account is gone")
        return str(entry.object["metadata"]["uid"])

    def _bound_user(self, claims: Mapping[str, Any]) -> User:
        private: Mapping[str, Any] = claims.get("kubernetes.io") or {}
        account = private.get("serviceaccount") or {}
        namespace, name = private.get("namespace", ""), account.get("name", "")
        if self._account_uid(namespace, name) != account.get("uid"):
            raise InvalidToken("the service account was made anew")
        extra: dict[str, tuple[str, ...]] = {CREDENTIAL_ID: (f"JTI={claims['jti']}",)}
        for kind, plural in BOUND_KINDS.items():
            bound = private.get(kind)
            if not bound:
                continue
            entry = self.cluster.store.find(("", plural), None if kind == "node" else namespace, bound["name"])
            if entry is None or entry.object["metadata"]["uid"] != bound["uid"]:
                raise InvalidToken(f"the {kind} that the token is bound to is gone")
            extra[f"authentication.kubernetes.io/{kind}-name"] = (bound["name"],)
            extra[f"authentication.kubernetes.io/{kind}-uid"] = (bound["uid"],)
        return service_account_user(namespace, name, account["uid"], extra)

    def _legacy_user(self, claims: Mapping[str, Any]) -> User:
        namespace, name = claims[f"{LEGACY_CLAIM}namespace"], claims[f"{LEGACY_CLAIM}service-account.name"]
        uid = claims[f"{LEGACY_CLAIM}service-account.uid"]
        if self._account_uid(namespace, name) != uid:
            raise InvalidToken("the service account was made anew")
        if self.cluster.store.find(("", "secrets"), namespace, claims[f"{LEGACY_CLAIM}secret.name"]) is None:
            raise InvalidToken("the token's secret is gone")
        return service_account_user(namespace, name, uid)


def certificate_user(certificate: bytes) -> User:
    """CN is the name, each O a group."""
    subject = x509.load_der_x509_certificate(certificate).subject

    def values(attribute: x509.ObjectIdentifier) -> list[str]:
        return [str(item.value) for item in subject.get_attributes_for_oid(attribute)]

    name = values(NameOID.COMMON_NAME)
    return User(name[0] if name else "", (*values(NameOID.ORGANIZATION_NAME), AUTHENTICATED))


# Impersonation

USER_HEADER, GROUP_HEADER, UID_HEADER = "impersonate-user", "impersonate-group", "impersonate-uid"
EXTRA_HEADER = "impersonate-extra-"
ACCOUNT_NAME = re.compile(rf"{SERVICE_ACCOUNT}(?P<namespace>[^:]+):(?P<name>[^:]+)")
AUTHENTICATION_GROUP = "authentication.k8s.io"


def impersonate(authorizer: Authorizer, user: User, headers: Iterable[tuple[str, str]]) -> User:
    """The user whom the Impersonate-* headers name, or C(user) when there are none. Raises 403 without the right.

    C(headers) are pairs: Impersonate-Group may occur more than once.
    """
    pairs = [(key.lower(), value) for key, value in headers if key.lower().startswith("impersonate-")]
    if not pairs:
        return user
    names = [value for key, value in pairs if key == USER_HEADER]
    groups = [value for key, value in pairs if key == GROUP_HEADER]
    uids = [value for key, value in pairs if key == UID_HEADER]
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in pairs:
        if key.startswith(EXTRA_HEADER):
            field = unquote(key.removeprefix(EXTRA_HEADER))
            extra[field] = (*extra.get(field, ()), value)
    if not names:
        wanted_user = _go_user(groups, uids[0] if uids else "", extra)
        raise bad_request(f"requested {wanted_user} without impersonating a user name")
    name = names[0]

    for wanted in _rights(name, groups, uids, extra):
        authorizer.require(user, wanted)

    account = ACCOUNT_NAME.fullmatch(name)
    if account and not groups:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{account['namespace']}"]
    if name == ANONYMOUS.name:
        groups = groups or [UNAUTHENTICATED]
    elif not {AUTHENTICATED, UNAUTHENTICATED} & set(groups):
        groups = [*groups, AUTHENTICATED]
    return User(name, tuple(groups), uids[0] if uids else "", extra)


def _go_user(groups: list[str], uid: str, extra: Mapping[str, Sequence[str]]) -> str:
    """A nameless user as Go prints the server's type."""
    listed = string_slice(groups) if groups else "[]string(nil)"
    parts = ", ".join(f"{quoted(key)}:{string_slice(values)}" for key, values in sorted(extra.items()))
    mapped = f"map[string][]string{{{parts}}}" if extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{quoted(uid)}, Groups:{listed}, Extra:{mapped}}}'


def _rights(
    name: str, groups: Iterable[str], uids: Iterable[str], extra: Mapping[str, Sequence[str]]
) -> Iterable[Attributes]:
    account = ACCOUNT_NAME.fullmatch(name)
    if account:
        yield Attributes(
            "impersonate", resource="serviceaccounts", namespace=account["namespace"], name=account["name"]
        )
    else:
        yield Attributes("impersonate", resource="users", name=name)
    for group in groups:
        yield Attributes("impersonate", resource="groups", name=group)
    for uid in uids:
        yield Attributes("impersonate", group=AUTHENTICATION_GROUP, resource="uids", name=uid)
    for field, values in extra.items():
        for value in values:
            yield Attributes(
                "impersonate", group=AUTHENTICATION_GROUP, resource="userextras", subresource=field, name=value
            )
