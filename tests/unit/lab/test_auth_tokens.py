"""Tokens of service accounts: what they say, and when they are believed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from virtlab.auth.tokens import AUDIENCE, InvalidToken, TokenAuthority, generate_key

ACCOUNT = {"metadata": {"namespace": "prod", "name": "robot", "uid": "u-1"}}


@pytest.fixture(scope="module")
def authority() -> TokenAuthority:
    return TokenAuthority(generate_key())


def test_a_token_names_its_account_and_audience(authority: TokenAuthority) -> None:
    claims = authority.verify(authority.issue(ACCOUNT, 600).token)
    assert claims["sub"] == "system:serviceaccount:prod:robot"
    assert claims["aud"] == [AUDIENCE]
    assert claims["kubernetes.io"] == {"namespace": "prod", "serviceaccount": {"name": "robot", "uid": "u-1"}}
    assert claims["exp"] - claims["iat"] == 600


def test_a_token_dies_at_its_time(authority: TokenAuthority) -> None:
    token = authority.issue(ACCOUNT, 600).token
    now = authority.clock.now()
    authority.verify(token, now + timedelta(seconds=590))
    with pytest.raises(InvalidToken, match="expired"):
        authority.verify(token, now + timedelta(seconds=601))


def test_a_token_remembered_from_before_still_dies(authority: TokenAuthority) -> None:
    token = authority.issue(ACCOUNT, 600).token
    authority.verify(token)
    with pytest.raises(InvalidToken):
        authority.verify(token, authority.clock.now() + timedelta(hours=1))


@pytest.mark.parametrize("token", ["", "wrong", "a.b.c", "a.b", "ä.b.c"])
def test_what_is_no_token_is_refused(authority: TokenAuthority, token: str) -> None:
    with pytest.raises(InvalidToken):
        authority.verify(token)


def test_a_changed_payload_does_not_fit_its_signature(authority: TokenAuthority) -> None:
    header, payload, signature = authority.issue(ACCOUNT, 600).token.split(".")
    other = authority.issue({"metadata": {**ACCOUNT["metadata"], "name": "admin"}}, 600).token.split(".")[1]
    assert payload != other
    with pytest.raises(InvalidToken):
        authority.verify(f"{header}.{other}.{signature}")


def test_another_cluster_s_token_is_refused(authority: TokenAuthority) -> None:
    with pytest.raises(InvalidToken):
        authority.verify(TokenAuthority(generate_key()).issue(ACCOUNT, 600).token)


def test_a_legacy_token_has_no_end(authority: TokenAuthority) -> None:
    token = authority.issue_legacy({"metadata": {"name": "robot-token"}}, ACCOUNT)
    claims = authority.verify(token, authority.clock.now() + timedelta(days=4000))
    assert claims["kubernetes.io/serviceaccount/secret.name"] == "robot-token"
