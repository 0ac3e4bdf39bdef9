# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task of this collection: what a module file declares and what its C(run) function receives.

A module file holds C(SPEC) (a ModuleSpec), C(run) (Task -> result) and a C(main) of one line. The action plugin of the
same name calls C(run) in the controller's process; C(main) wraps it in an AnsibleModule everywhere else.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .journal import JOURNAL

Result = dict[str, Any]


class Failure(Exception):
    """Ends a task as failed. The message says what was asked, what came back, what to do; C(result) is returned too."""

    def __init__(self, message: str, **result: Any) -> None:
        super().__init__(message)
        self.message = message
        self.result = result

    def add(self, more: str, **result: Any) -> None:
        """Say more, where a caller knows more, and return more."""
        self.message = f"{self.message} {more}"
        self.args = (self.message,)
        self.result.update(result)


def _silent(text: str) -> None:
    del text


@dataclass(frozen=True)
class Task:
    """One call of a module: validated options and how it is to be run."""

    params: Mapping[str, Any]
    check_mode: bool = False
    diff: bool = False
    warn: Callable[[str], None] = _silent
    progress: Callable[[str], None] = _silent


Run = Callable[[Task], Result]

# The options of modules that wait (plugins/doc_fragments/wait.py); seconds.
WAIT_OPTIONS: dict[str, dict[str, Any]] = {
    "wait": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int", "default": 300},
}


def _no_secrets(params: Mapping[str, Any]) -> set[str]:
    del params
    return set()


@dataclass(frozen=True)
class ModuleSpec:
    """The options of a module, as AnsibleModule and ArgumentSpecValidator take them.

    C(secrets) finds the values to censor that C(no_log) does not reach, such as those in a list of free dictionaries.
    """

    options: Mapping[str, Any]
    mutually_exclusive: Sequence[Sequence[str]] = ()
    required_together: Sequence[Sequence[str]] = ()
    required_one_of: Sequence[Sequence[str]] = ()
    required_if: Sequence[Sequence[Any]] = ()
    required_by: Mapping[str, Any] = field(default_factory=dict)
    supports_check_mode: bool = True
    secrets: Callable[[Mapping[str, Any]], set[str]] = _no_secrets

    def rules(self) -> dict[str, Any]:
        """The rules between options, as keyword arguments."""
        return {
            "mutually_exclusive": self.mutually_exclusive,
            "required_together": self.required_together,
            "required_one_of": self.required_one_of,
            "required_if": self.required_if,
            "required_by": self.required_by,
        }


class _Module(AnsibleModule):  # type: ignore[misc]  # ansible-core has no type hints
    """A module that knows its secrets before it is logged on the host what it was called with."""

    def __init__(self, spec: ModuleSpec, **options: Any) -> None:
        self._spec = spec
        super().__init__(**options)

    def _log_invocation(self) -> None:
        values = secret_values(self._spec, self.params)
        # What is logged of a dictionary is its representation.
        self.no_log_values.update(values | {repr(value)[1:-1] for value in values})
        super()._log_invocation()


def main(spec: ModuleSpec, run: Run) -> None:
    """Run a module as a process of its own: remote hosts, become, async."""
    module = _Module(
        spec, argument_spec=dict(spec.options), supports_check_mode=spec.supports_check_mode, **spec.rules()
    )
    module.no_log_values.update(secret_values(spec, module.params))
    result = attempt(run, Task(module.params, module.check_mode, module._diff, module.warn))
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def attempt(run: Run, task: Task) -> Result:
    """Run a task; the result of one that failed has C(failed) and C(msg), and tells what it changed before."""
    JOURNAL.begin()
    try:
        return dict(run(task))
    except Failure as failure:
        return _failed({"msg": failure.message, **failure.result})
    except Exception as error:
        return _failed({"msg": unexpected(error), "exception": traceback.format_exc()})


def _failed(result: Result) -> Result:
    if written := JOURNAL.told():
        result.update(changed=True, msg=f"{result['msg']} {written}")
    return {"failed": True, **result}


def unexpected(error: Exception) -> str:
    """The message for an error that nobody foresaw."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"This should not happen: {text}. Please report it with the output of -vvv to virtstack.core."


# A kubeconfig is an option without no_log, because it mostly is a path.
_SECRET_NAMES = ("token", "password", "client-key-data", "id-token", "refresh-token", "access-token")
_SECRET_TEXT = re.compile(rf"""["']?(?:{"|".join(_SECRET_NAMES)})["']?\s*:\s*["']?([^\s"',}}]+)""")


def secret_values(spec: ModuleSpec, params: Mapping[str, Any]) -> set[str]:
    """What is secret in the options beyond those with no_log: the module's own, and credentials in a kubeconfig."""
    return secrets_of_kubeconfig(params.get("kubeconfig")) | spec.secrets(params)


def secrets_of_kubeconfig(document: Any) -> set[str]:
    """The credentials in a kubeconfig that is given as a document or as text; a path has none."""
    return set(_SECRET_TEXT.findall(document)) if isinstance(document, str) else set(_secrets_in(document))


def _secrets_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name in _SECRET_NAMES and item:
                yield str(item)
            else:
                yield from _secrets_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _secrets_in(item)
