# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options by which everything of this collection reaches an API server, and what they come to.

Documented in C(plugins/doc_fragments/cluster.py). Modules take C(CONNECTION_OPTIONS) into their argument spec;
inventory, lookup and connection plugins read options of the same names the Ansible way. Both hand the values to
C(connection()).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import env_fallback

from ..libraries import yaml
from ..task import Failure


def _option(variable: str, type: str = "str", **more: Any) -> dict[str, Any]:
    return {"type": type, "fallback": (env_fallback, [variable]), **more}


_DEFAULT_TIMEOUT = 30.0

CONNECTION_OPTIONS: dict[str, dict[str, Any]] = {
    "kubeconfig": _option("K8S_AUTH_KUBECONFIG", "raw"),
    "context": _option("K8S_AUTH_CONTEXT"),
    "host": _option("K8S_AUTH_HOST"),
    "api_key": _option("K8S_AUTH_API_KEY", no_log=True),
    "username": _option("K8S_AUTH_USERNAME"),
    "password": _option("K8S_AUTH_PASSWORD", no_log=True),
    "validate_certs": _option("K8S_AUTH_VERIFY_SSL", "bool", aliases=["verify_ssl"]),
    "ca_cert": _option("K8S_AUTH_SSL_CA_CERT", "path", aliases=["ssl_ca_cert"]),
    "client_cert": _option("K8S_AUTH_CERT_FILE", "path", aliases=["cert_file"]),
    "client_key": _option("K8S_AUTH_KEY_FILE", "path", aliases=["key_file"], no_log=False),
    "proxy": _option("K8S_AUTH_PROXY"),
    "no_proxy": _option("K8S_AUTH_NO_PROXY"),
    "impersonate_user": _option("K8S_AUTH_IMPERSONATE_USER"),
    "impersonate_groups": _option("K8S_AUTH_IMPERSONATE_GROUPS", "list", elements="str"),
    "request_timeout": _option("K8S_AUTH_REQUEST_TIMEOUT", "float", default=_DEFAULT_TIMEOUT),
}

DECLARE_OPTIONS: dict[str, dict[str, Any]] = {
    "force_conflicts": {"type": "bool", "default": False},
}

# What one credential (an AWX credential, say) sets together: it is taken from the environment whole or not at all.
_CREDENTIAL = ("host", "api_key", "username", "password", "client_cert", "client_key", "ca_cert", "validate_certs")


@dataclass(frozen=True)
class Connection:
    """Where the API server is and who asks. C(kubeconfig) is a path, a parsed document, or None for the default."""

    kubeconfig: str | Mapping[str, Any] | None = None
    context: str | None = None
    host: str | None = None
    api_key: str | None = None
    username: str | None = None
    password: str | None = None
    validate_certs: bool | None = None
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = None
    no_proxy: str | None = None
    impersonate_user: str | None = None
    impersonate_groups: tuple[str, ...] = ()
    request_timeout: float = _DEFAULT_TIMEOUT

    @property
    def complete(self) -> bool:
        """Whether the options name a server and a way to log in, so that no kubeconfig is read."""
        return bool(self.host and (self.api_key or self.username or self.client_cert))


def connection(params: Mapping[str, Any]) -> Connection:
    """What the options mean together.

    An explicit kubeconfig or context beats a server that only the environment names. Raises Failure for options that
    contradict each other or files that are not there.
    """
    values: dict[str, Any] = {name: params.get(name) for name in CONNECTION_OPTIONS}
    if any(values[name] and not _from_environment(name, values[name]) for name in ("kubeconfig", "context")):
        for name in _CREDENTIAL:
            if _from_environment(name, values[name]):
                values[name] = None
    for name in ("ca_cert", "client_cert", "client_key"):
        values[name] = _existing_file(name, values[name])
    if values["username"] and values["password"] is None:
        raise Failure("username is given without password: give both, or api_key.")
    if values["impersonate_groups"] and not values["impersonate_user"]:
        raise Failure("impersonate_groups is given without impersonate_user: an API server needs the user as well.")
    timeout = _DEFAULT_TIMEOUT if values["request_timeout"] is None else float(values["request_timeout"])
    if timeout <= 0:
        raise Failure(f"request_timeout is {timeout:g}: it must be more than 0 seconds.")
    if (params.get("wait_timeout") or 0) < 0:
        raise Failure(f"wait_timeout is {params['wait_timeout']}: it must be 0 seconds or more.")
    values["request_timeout"] = timeout
    values["impersonate_groups"] = tuple(values["impersonate_groups"] or ())
    values["kubeconfig"] = _kubeconfig(values["kubeconfig"])
    return Connection(**values)


def _from_environment(name: str, value: Any) -> bool:
    variable = CONNECTION_OPTIONS[name]["fallback"][1][0]
    text = os.environ.get(variable)
    if value is None or text is None:
        return False
    if isinstance(value, bool):
        return value is (text.strip().lower() in {"1", "true", "t", "yes", "y", "on"})
    return str(value) == (os.path.expanduser(os.path.expandvars(text)) if "/" in text else text)


def _existing_file(name: str, value: Any) -> str | None:
    if not value:
        return None
    path = os.path.expanduser(str(value))
    if not os.path.isfile(path):
        raise Failure(f"{name}: there is no file {path}.")
    return path


def _kubeconfig(value: Any) -> str | Mapping[str, Any] | None:
    if not value:
        return None
    if isinstance(value, Mapping):
        return value
    text = str(value)
    if "\n" in text or text.lstrip().startswith("{"):
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise Failure(f"kubeconfig is neither a path nor a YAML document: {_position(error)}") from None
        if not isinstance(document, Mapping):
            raise Failure("kubeconfig is given as text, but it is no kubeconfig document (no mapping at its top).")
        return document
    paths = [os.path.expanduser(part) for part in text.split(os.pathsep) if part]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise Failure(
            f"kubeconfig: there is no file {', '.join(missing)}. Give the path of a kubeconfig, its content, or host"
            " and api_key."
        )
    return os.pathsep.join(paths)


def _position(error: yaml.YAMLError) -> str:
    # The error's own text quotes the document, which may hold a token.
    mark = getattr(error, "problem_mark", None)
    return f"a YAML error in line {mark.line + 1}." if mark else "a YAML error."
