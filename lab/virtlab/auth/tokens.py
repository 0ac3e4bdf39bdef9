"""Bearer tokens of service accounts: JSON Web Tokens signed with the cluster's key (RFC 7519, RS256)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from virtlab.clock import Clock

AUDIENCE = "https://kubernetes.default.svc"
LEGACY_ISSUER = "kubernetes/serviceaccount"
LEGACY_CLAIM = "kubernetes.io/serviceaccount/"
KEY_BITS = 2048


class InvalidToken(Exception):
    """The token is none of ours, or its time is over."""


@dataclass(frozen=True)
class IssuedToken:
    """C(expires) is a time stamp as the API writes it."""

    token: str
    expires: str


def generate_key() -> bytes:
    """A new private key, PEM; the server keeps it in its state directory."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class TokenAuthority:
    """Signs and checks tokens; it knows nothing of the objects that they name."""

    def __init__(self, key_pem: bytes, *, clock: Clock | None = None, issuer: str = AUDIENCE) -> None:
        key = serialization.load_pem_private_key(key_pem, None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("the key that signs tokens must be an RSA key")
        self._key = key
        self._public = key.public_key()
        self.issuer = issuer
        self.clock = clock or Clock()
        self._known: dict[str, Mapping[str, Any]] = {}
        encoded = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = _encode(hashlib.sha256(encoded).digest())

    def sign(self, claims: Mapping[str, Any]) -> str:
        header = {"alg": "RS256", "kid": self.key_id}
        signed = f"{_encode(orjson.dumps(header))}.{_encode(orjson.dumps(claims))}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encode(signature)}"

    def verify(self, token: str, now: datetime | None = None, *, leeway: int = 0) -> Mapping[str, Any]:
        """The token's claims. Raises InvalidToken for a wrong signature, before its time and C(leeway) s after it."""
        claims = self._known.get(token)
        if claims is None:
            claims = self._checked(token)
            self._known[token] = claims
        seconds = (now or self.clock.now()).timestamp()
        if "exp" in claims and seconds >= claims["exp"] + leeway:
            raise InvalidToken("token has expired")
        if "nbf" in claims and seconds < claims["nbf"] - 1:
            raise InvalidToken("token is not valid yet")
        return claims

    def _checked(self, token: str) -> Mapping[str, Any]:
        try:
            header, payload, signature = token.split(".")
            self._public.verify(_decode(signature), f"{header}.{payload}".encode(), padding.PKCS1v15(), hashes.SHA256())
            claims = orjson.loads(_decode(payload))
        except (ValueError, binascii.Error, InvalidSignature) as error:
            raise InvalidToken("the signature does not fit") from error
        if not isinstance(claims, dict):
            raise InvalidToken("the token carries no claims")
        return claims

    def issue(
        self,
        account: Mapping[str, Any],
        seconds: int,
        *,
        audiences: Sequence[str] = (),
        bound: Mapping[str, Mapping[str, str]] | None = None,
    ) -> IssuedToken:
        """A token for the ServiceAccount object C(account), good for C(seconds). C(bound): {"pod": {name, uid}}."""
        metadata = account["metadata"]
        now = self.clock.now()
        expires = now + timedelta(seconds=seconds)
        namespace, name = metadata["namespace"], metadata["name"]
        claims = {
            "aud": list(audiences) or [self.issuer],
            "exp": int(expires.timestamp()),
            "iat": int(now.timestamp()),
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": {
                "namespace": namespace,
                **(bound or {}),
                "serviceaccount": {"name": name, "uid": metadata["uid"]},
            },
            "nbf": int(now.timestamp()),
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        return IssuedToken(self.sign(claims), self.clock.stamp(expires))

    def issue_legacy(self, secret: Mapping[str, Any], account: Mapping[str, Any]) -> str:
        """The token of a Secret of type kubernetes.io/service-account-token: it does not expire."""
        metadata = account["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        claims = {
            "iss": LEGACY_ISSUER,
            f"{LEGACY_CLAIM}namespace": namespace,
            f"{LEGACY_CLAIM}secret.name": secret["metadata"]["name"],
            f"{LEGACY_CLAIM}service-account.name": name,
            f"{LEGACY_CLAIM}service-account.uid": metadata["uid"],
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        return self.sign(claims)
