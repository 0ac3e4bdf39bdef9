# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task has written so far, so that one that fails tells truthfully what it changed before.

A process runs one task at a time; what writes for it (the client, a declaration, a download) notes it here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

# Kind, namespace (None where it has none) and name of what was written; a file's name is its path.
Subject: TypeAlias = "tuple[str, str | None, str]"

# What was written that a message spells out.
_SPELLED_OUT = 8


class Journal:
    """What was written since the task began, by its subject. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[Subject, str] = {}

    def begin(self) -> None:
        """Another task begins."""
        with self._lock:
            self._entries.clear()

    def note(self, did: str, subject: Subject) -> None:
        """Note what was done to something, such as C(created); what is created and deleted again leaves nothing."""
        with self._lock:
            earlier = self._entries.get(subject)
            if did == "deleted" and earlier == "created":
                del self._entries[subject]
            elif did == "created" and earlier == "deleted":
                self._entries[subject] = "replaced"
            elif earlier != "created" and (earlier != "replaced" or did == "deleted"):
                self._entries[subject] = did

    def touched(self, namespace: str | None, name: str) -> bool:
        """Whether anything of that name was written."""
        with self._lock:
            return any(subject[1:] == (namespace, name) for subject in self._entries)

    def told(self) -> str:
        """A sentence on what was written; empty where nothing was."""
        with self._lock:
            done = [(did, *subject) for subject, did in self._entries.items()]
        if not done:
            return ""
        listed = [
            f"{did} {kind} {f'{namespace}/{name}' if namespace else name}"
            for did, kind, namespace, name in done[:_SPELLED_OUT]
        ]
        more = f" and {len(done) - _SPELLED_OUT} more" if len(done) > _SPELLED_OUT else ""
        return f"Before that, the task {', '.join(listed)}{more}."


JOURNAL = Journal()
note: Callable[[str, Subject], None] = JOURNAL.note
