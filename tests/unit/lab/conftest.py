"""Fixtures of the lab's own tests."""

from __future__ import annotations

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
def volumes(lab: Any, api: Api) -> Volumes:
    """The volumes of the test's own namespace, in that lab."""
    return Volumes(api, lab.state_dir)
