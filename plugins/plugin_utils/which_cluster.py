# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cluster options name, told without a client, whose import takes longer than many a task."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from yaml import YAMLError, safe_load


def server(options: Mapping[str, Any]) -> str:
    """The URL of the API server that kubeconfig, context and host lead to; empty where nothing names one.

    It tells clusters apart. Whether it can be used, the client says.
    """
    host = options.get("host")
    chosen = options.get("kubeconfig") or options.get("context")
    if host and not (chosen and host == os.environ.get("K8S_AUTH_HOST")):
        return str(host).rstrip("/")
    found = _named(list(_documents(options.get("kubeconfig"))), options.get("context"))
    return found or str(host or os.environ.get("KUBERNETES_SERVICE_HOST") or "").rstrip("/")


def _documents(kubeconfig: Any) -> Iterator[Mapping[str, Any]]:
    """What kubeconfig means: a document, its text, or paths of files; the default files where it is not given."""
    if isinstance(kubeconfig, Mapping):
        yield kubeconfig
        return
    text = str(kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config")
    if "\n" in text or text.lstrip().startswith("{"):
        yield from _parsed(text)
        return
    for path in text.split(os.pathsep):
        try:
            with open(os.path.expanduser(path), encoding="utf-8") as file:
                yield from _parsed(file.read())
        except (OSError, UnicodeDecodeError):
            continue


def _parsed(text: str) -> Iterator[Mapping[str, Any]]:
    try:
        found = safe_load(text)
    except YAMLError:
        return
    if isinstance(found, Mapping):
        yield found


def _named(documents: list[Mapping[str, Any]], context: Any) -> str | None:
    """The server of a context, or of the current one; the first document that has something counts."""
    wanted = context or next((item["current-context"] for item in documents if item.get("current-context")), None)
    cluster = _entry(documents, "contexts", "context", wanted).get("cluster")
    found = _entry(documents, "clusters", "cluster", cluster).get("server")
    return str(found).rstrip("/") if found else None


def _entry(documents: list[Mapping[str, Any]], group: str, part: str, name: Any) -> Mapping[str, Any]:
    for document in documents:
        for item in document.get(group) or ():
            if isinstance(item, Mapping) and item.get("name") == name and isinstance(item.get(part), Mapping):
                return dict(item[part])
    return {}
