"""Label selectors that are evaluated without the server."""

from __future__ import annotations

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.selector import matcher
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

LABELS = {"app": "db", "tier": "back", "app.kubernetes.io/name": "shop", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, True),
        ("", True),
        ("app=db", True),
        ("app==db", True),
        ("app = db , tier = back", True),
        ("app=web", False),
        ("app=db,tier=front", False),
        ("app!=web", True),
        ("missing!=web", True),
        ("missing=web", False),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("! app", False),
        ("app in (web, db)", True),
        ("app in(db)", True),
        ("app notin (web, db)", False),
        ("missing notin (web)", True),
        ("missing in (web)", False),
        ("app.kubernetes.io/name=shop", True),
        ("app in (db),tier notin (front),!missing", True),
        ("empty=", True),
        ("app=", False),
        ("index=1", False),
    ],
)
def test_a_selector_matches_as_the_server_would(selector: str | None, matches: bool) -> None:
    assert matcher(selector)(LABELS) is matches


@pytest.mark.parametrize("selector", ["app=a b", "app in db", "=db", "app=(db)", "app,,tier", "app in (a"])
def test_what_is_no_selector_is_refused_with_the_place(selector: str) -> None:
    with pytest.raises(Failure, match="label_selector is no label selector"):
        matcher(selector)
