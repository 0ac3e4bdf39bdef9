"""Raw HTTP to the lab's server, for tests that look at what goes over the wire."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def message(self) -> str:
        return str(self.body["message"])


@dataclass
class Api:
    """Asks one lab, as its administrator unless other headers say so."""

    kubeconfig: Path
    namespace: str = ""
    _config: dict[str, Any] = field(default_factory=dict)

    def _connection(self, timeout: float) -> http.client.HTTPSConnection:
        if not self._config:
            self._config.update(yaml.safe_load(self.kubeconfig.read_text()))
        cluster = self._config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        url = urlsplit(cluster["server"])
        return http.client.HTTPSConnection(
            url.hostname or "", url.port, context=ssl.create_default_context(cadata=authority), timeout=timeout
        )

    @contextmanager
    def opened(
        self, method: str, path: str, body: Any = None, *, timeout: float = 20, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer while it still comes in. Header names are written with underscores."""
        connection = self._connection(timeout)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Authorization": f"Bearer {self._config['users'][0]['user']['token']}", **named}
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path.replace("{ns}", self.namespace), body, sent)
            yield connection.getresponse()
        finally:
            connection.close()

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        with self.opened(method, path, body, **headers) as response:
            return Reply(response.status, dict(response.getheaders()), response.read().decode())

    def config_map(self, name: str, **content: Any) -> Reply:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **content.pop("metadata", {})}}
        return self("POST", "/api/v1/namespaces/{ns}/configmaps", {**body, **content})

    def select(self, **query: str) -> Reply:
        """The config maps of the namespace."""
        text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
        return self("GET", f"/api/v1/namespaces/{{ns}}/configmaps?{text}")


def names(reply: Reply) -> list[str]:
    return [item["metadata"]["name"] for item in reply.body["items"]]
