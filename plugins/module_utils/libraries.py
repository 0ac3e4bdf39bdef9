# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python packages of a cluster's client, which may be missing where a module runs.

They are imported here and nowhere else, so that a module without them can still say what to install.
"""

from __future__ import annotations

MISSING: dict[str, str] = {}

try:
    import yaml
except ImportError as error:
    yaml = None  # type: ignore[assignment,unused-ignore]
    MISSING["PyYAML>=6.0"] = str(error)

try:
    import urllib3

    # The kubernetes client comes with urllib3.
    from kubernetes.client.configuration import Configuration
    from kubernetes.client.rest import RESTClientObject
    from kubernetes.config import (
        ConfigException,
        kube_config,
        load_incluster_config,
        load_kube_config,
        load_kube_config_from_dict,
    )
    from urllib3 import exceptions as http_errors
    from urllib3.response import HTTPHeaderDict
    from urllib3.util.ssl_ import create_urllib3_context
except ImportError as error:
    MISSING["kubernetes>=28.1"] = str(error)
    urllib3 = http_errors = HTTPHeaderDict = create_urllib3_context = Configuration = RESTClientObject = None
    ConfigException = kube_config = load_incluster_config = load_kube_config = load_kube_config_from_dict = None

try:
    # It comes with the kubernetes client, too; only streams need it.
    import websocket
except ImportError:
    websocket = None  # type: ignore[assignment,unused-ignore]

__all__ = [
    "MISSING",
    "ConfigException",
    "Configuration",
    "HTTPHeaderDict",
    "RESTClientObject",
    "create_urllib3_context",
    "http_errors",
    "kube_config",
    "load_incluster_config",
    "load_kube_config",
    "load_kube_config_from_dict",
    "missing",
    "urllib3",
    "websocket",
    "yaml",
]


def missing() -> str | None:
    """What to install before anything can work; None when nothing is missing."""
    if not MISSING:
        return None
    reasons = "; ".join(dict.fromkeys(MISSING.values()))
    return f"Install {', '.join(MISSING)} for the Python that runs this task ({reasons})."
