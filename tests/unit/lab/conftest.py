"""Fixtures of the lab's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from volumes import Volumes
from wire import Api


@pytest.fixture
def api(lab: Any, namespace: str) -> Api:
    """The lab of these tests; C({ns}) in a path is the namespace of the test."""
    return Api(Path(lab.kubeconfig), namespace)


@pytest.fixture
def own_lab(new_lab: Any) -> Iterator[Any]:
    """A lab that a test may kill."""
    yield from new_lab()


@pytest.fixture
def volumes(lab: Any, api: Api) -> Volumes:
    """The volumes of the test's own namespace, in that lab."""
    return Volumes(api, lab.state_dir)
