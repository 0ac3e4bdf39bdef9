# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a Connection to a pool of connections and the headers that say who asks.

Kubeconfigs, exec plugins, token files and service accounts are read by the kubernetes client; this only chooses the
source and lays explicit options over what it found.
"""

from __future__ import annotations

import logging
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..libraries import (
    ConfigException,
    Configuration,
    HTTPHeaderDict,
    RESTClientObject,
    create_urllib3_context,
    kube_config,
    load_incluster_config,
    load_kube_config,
    load_kube_config_from_dict,
    urllib3,
)
from ..task import Failure
from .options import Connection

# What the API server's audit log calls us.
USER_AGENT = "virtstack.core"
_VARIABLES = ("KUBECONFIG", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
_FILE_SETTINGS = ("ca_certs", "cert_file", "key_file", "ca_cert_data")


class Session:
    """Kept-alive connections to one API server and the credentials to use on them.

    Raises Failure when no server is named or the credentials cannot be loaded.
    """

    def __init__(self, connection: Connection, size: int) -> None:
        self._connection = connection
        # The kubernetes client writes inline certificates to files; they are gone once the TLS context has read them.
        with _temporary_files() as folder:
            self._configuration = _configuration(connection, folder)
            self._configuration.connection_pool_maxsize = size
            self.host = str(self._configuration.host).rstrip("/")
            self.pool: urllib3.PoolManager = RESTClientObject(self._configuration).pool_manager
            settings = self.pool.connection_pool_kw
            if self.host.startswith("https:"):
                # One context for all connections: reading a CA bundle costs more than a request.
                settings["ssl_context"] = _tls_context(self._configuration)
            for name in _FILE_SETTINGS:
                settings.pop(name, None)
        if not self._configuration.verify_ssl:
            # The user has asked for it; a warning with every request would only hide others.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    @property
    def verifies(self) -> bool:
        """Whether certificates are verified."""
        return bool(self._configuration.verify_ssl)

    def authorities(self) -> list[bytes]:
        """The certificates that are trusted, as DER, beside those of the system that OpenSSL looks up by itself."""
        context = self.pool.connection_pool_kw.get("ssl_context")
        return list(context.get_ca_certs(binary_form=True)) if context is not None else []

    def headers(self) -> HTTPHeaderDict:
        """The headers of one request; the kubernetes client renews a token that is about to expire on the way."""
        headers = HTTPHeaderDict({"User-Agent": USER_AGENT})
        connection = self._connection
        if connection.api_key:
            headers["Authorization"] = f"Bearer {connection.api_key}"
        elif connection.username:
            basic = urllib3.make_headers(basic_auth=f"{connection.username}:{connection.password}")
            headers["Authorization"] = basic["authorization"]
        else:
            for setting in self._configuration.auth_settings().values():
                if setting["in"] == "header" and setting["value"]:
                    headers[setting["key"]] = setting["value"]
        if connection.impersonate_user:
            headers["Impersonate-User"] = connection.impersonate_user
            for group in connection.impersonate_groups:
                headers.add("Impersonate-Group", group)
        return headers


class _Complaints(logging.Handler):
    """Errors of the kubernetes client: it only logs that an exec plugin failed, and goes on as nobody."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def sources(connection: Connection) -> Iterator[Any]:
    """What besides the options decides about a session: variables, and the files that are read, as they are now."""
    for variable in _VARIABLES:
        yield os.environ.get(variable) or os.environ.get(variable.lower())
    kubeconfig = connection.kubeconfig if isinstance(connection.kubeconfig, str) else _default_kubeconfig()
    for path in (*kubeconfig.split(os.pathsep), connection.ca_cert, connection.client_cert, connection.client_key):
        yield os.stat(path).st_mtime_ns if path and os.path.isfile(path) else None


def _default_kubeconfig() -> str:
    # Read here, because the kubernetes client read KUBECONFIG when it was imported.
    return os.path.expanduser(os.environ.get("KUBECONFIG") or os.path.join("~", ".kube", "config"))


def _configuration(connection: Connection, folder: str) -> Any:
    configuration = Configuration()
    complaints = _Complaints()
    logging.getLogger().addHandler(complaints)
    try:
        _load(connection, configuration, folder)
    except (TypeError, AttributeError):
        # The kubernetes client takes for granted that it reads maps and lists.
        raise Failure(
            "kubeconfig: this is no kubeconfig, which has clusters, users and contexts. Give the path of one, its"
            " content, or host and api_key."
        ) from None
    except (ConfigException, OSError, ValueError, KeyError) as error:
        raise Failure(f"The kubeconfig cannot be used: {error}") from None
    finally:
        logging.getLogger().removeHandler(complaints)
    if complaints.texts and not configuration.api_key and not configuration.cert_file:
        raise Failure(f"The kubeconfig's login gave no credentials: {'; '.join(complaints.texts)}")
    settings = {
        "host": connection.host,
        "verify_ssl": connection.validate_certs,
        "ssl_ca_cert": connection.ca_cert,
        "cert_file": connection.client_cert,
        "key_file": connection.client_key,
        "proxy": connection.proxy,
        "no_proxy": connection.no_proxy,
    }
    for name, value in settings.items():
        if value is not None:
            setattr(configuration, name, value)
    if "://" not in str(configuration.host):
        configuration.host = f"https://{configuration.host}"
    return configuration


def _load(connection: Connection, configuration: Any, folder: str) -> None:
    if connection.complete:
        return
    loading = {"context": connection.context, "client_configuration": configuration, "temp_file_path": folder}
    if isinstance(connection.kubeconfig, Mapping):
        load_kube_config_from_dict(dict(connection.kubeconfig), persist_config=False, **loading)
        return
    paths = connection.kubeconfig or _default_kubeconfig()
    if connection.kubeconfig or any(os.path.isfile(path) for path in paths.split(os.pathsep)):
        load_kube_config(config_file=paths, **loading)
    elif "KUBERNETES_SERVICE_HOST" in os.environ:
        load_incluster_config(client_configuration=configuration)
    elif not connection.host:
        raise Failure(
            "No cluster is named: give kubeconfig, or host and api_key, or set K8S_AUTH_KUBECONFIG, or K8S_AUTH_HOST"
            f" and K8S_AUTH_API_KEY. (There is no {paths} either, and this is no pod of a cluster.)"
        )


@contextmanager
def _temporary_files() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="virtstack-") as folder:
        try:
            yield folder
        finally:
            # Older kubernetes clients look for a file that they wrote once, whether it is still there or not.
            written: dict[Any, str] = getattr(kube_config, "_temp_files", {})
            for content, path in list(written.items()):
                if path.startswith(folder):
                    del written[content]


def _tls_context(configuration: Any) -> ssl.SSLContext:
    verify = bool(configuration.verify_ssl)
    context: ssl.SSLContext = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
    what = "ca_cert"
    try:
        if verify and configuration.ssl_ca_cert:
            context.load_verify_locations(configuration.ssl_ca_cert)
        elif verify:
            context.load_default_certs()
        what = "client_cert and client_key"
        if configuration.cert_file:
            # An empty password makes OpenSSL fail on an encrypted key rather than ask for one on the terminal.
            context.load_cert_chain(configuration.cert_file, configuration.key_file, password="")
    except OSError as error:
        raise Failure(f"{what} of the connection cannot be used: {error}") from None
    return context
