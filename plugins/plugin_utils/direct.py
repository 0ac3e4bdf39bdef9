# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a module inside the controller's own process.

An action plugin imports its module at its top, so that the controller has everything loaded before it forks a worker,
and names it:

    from ansible_collections.virtstack.core.plugins.modules import vm
    from ansible_collections.virtstack.core.plugins.plugin_utils.direct import DirectAction


    class ActionModule(DirectAction):
        MODULE = vm

Where a process of its own is asked for (another host or interpreter, become, async), the module runs as any module
does. Both ways validate the same arguments by the same spec and return the same result.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from ansible import constants
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display
from ansible_collections.virtstack.core.plugins.module_utils.task import (
    ModuleSpec,
    Result,
    Run,
    Task,
    attempt,
    secret_values,
)

_display = Display()


class Module(Protocol):
    """What a module file has to offer."""

    SPEC: ModuleSpec
    run: Run


class DirectAction(NormalAction):  # type: ignore[misc]  # ansible-core has no type hints
    """The action plugin of C(MODULE)."""

    MODULE: Module

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Result:
        variables = task_vars or {}
        if not self._is_direct(variables):
            result: Result = super().run(tmp, task_vars)
            return result
        with self._environment():
            return self._run_here()

    def _is_direct(self, variables: Mapping[str, Any]) -> bool:
        return (
            self._connection.transport == "local"
            and not self._task.async_val
            and not self._connection.become
            and self._is_own_interpreter(variables)
        )

    def _is_own_interpreter(self, variables: Mapping[str, Any]) -> bool:
        """Whether no other interpreter than ours is asked for; C(auto) and its variants ask for none."""
        if self._task.delegate_to:
            delegated = variables.get("ansible_delegated_vars") or {}
            variables = delegated.get(self._task.delegate_to) or variables
        asked = constants.config.get_config_value("INTERPRETER_PYTHON", variables=variables)
        interpreter = str(self._templar.template(asked) or "auto").strip()
        return interpreter.startswith("auto") or same_interpreter(interpreter, sys.executable)

    @contextmanager
    def _environment(self) -> Iterator[None]:
        """The task's environment keyword, for the time of the task: options and the kubernetes client read it."""
        wanted: dict[str, Any] = {}
        self._compute_environment_string(wanted)
        before = dict(os.environ)
        os.environ.update({str(name): str(value) for name, value in wanted.items()})
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _run_here(self) -> Result:
        spec = self.MODULE.SPEC
        validation = ArgumentSpecValidator(dict(spec.options), **spec.rules()).validate(plain(self._task.args))
        params = validation.validated_parameters
        secrets = validation._no_log_values | secret_values(spec, params)
        warnings = [
            f"Both option {warning['option']} and its alias {warning['alias']} are set."
            for warning in validation._warnings
        ]
        if validation.error_messages:
            message = str(validation.errors.msg)
            if isinstance(validation.errors[0], UnsupportedError):
                message = f"Unsupported parameters for ({self._task.action}) module: {message}"
            result: Result = {"failed": True, "msg": message}
        elif self._task.check_mode and not spec.supports_check_mode:
            result = {"skipped": True, "msg": f"remote module ({self._task.action}) does not support check mode"}
        else:
            task = Task(params, self._task.check_mode, self._task.diff, warnings.append, self._progress(secrets))
            result = attempt(self.MODULE.run, task)
        result.setdefault("changed", False)
        result["invocation"] = {"module_args": params}
        if warnings:
            result["warnings"] = warnings
        if validation._deprecations:
            result["deprecations"] = list(validation._deprecations)
        return _censored(plain(result), secrets)

    def _progress(self, secrets: set[str]) -> Any:
        if self._task.no_log:
            return lambda text: None
        return lambda text: _display.display(f"  {remove_values(text, secrets)}")


def same_interpreter(first: str, second: str) -> bool:
    """Whether two paths are one Python with one set of libraries: bin/python and bin/python3 of one environment are.

    The link alone does not tell: all virtual environments of a Python link to the same file.
    """
    return os.path.realpath(first) == os.path.realpath(second) and os.path.realpath(
        os.path.dirname(first)
    ) == os.path.realpath(os.path.dirname(second))


def plain(value: Any) -> Any:
    """The value as JSON would carry it: without Ansible's tags, lazy templates and vault wrappers."""
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {plain(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    return str(value)


_PLAIN = frozenset({str, int, float, bool})


def _censored(result: Result, secrets: set[str]) -> Result:
    """As AnsibleModule does: every value that a no_log option had is hidden wherever it appears."""
    kept = {name: value for name, value in result.items() if value is None or isinstance(value, bool)}
    censored: Result = remove_values(result, secrets)
    censored.update(kept)
    return censored
