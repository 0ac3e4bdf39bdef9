"""Modules called in the process of the tests, with their options checked as Ansible checks them."""

from __future__ import annotations

import importlib
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Task


def call(
    module_name: str, /, *, check_mode: bool = False, told: list[str] | None = None, **options: Any
) -> dict[str, Any]:
    """The result of a module; raises its Failure. C(told) gets what it shows of its progress."""
    module = importlib.import_module(f"ansible_collections.virtstack.core.plugins.modules.{module_name}")
    validated = ArgumentSpecValidator(dict(module.SPEC.options), **module.SPEC.rules()).validate(options)
    if validated.error_messages:
        raise Failure("; ".join(validated.error_messages))
    seen: list[str] = [] if told is None else told
    task = Task(validated.validated_parameters, check_mode, diff=True, warn=seen.append, progress=seen.append)
    result: dict[str, Any] = module.run(task)
    return result


def refusal(module_name: str, /, **options: Any) -> Failure:
    """The Failure of a module that is to fail."""
    try:
        result = call(module_name, **options)
    except Failure as failure:
        return failure
    raise AssertionError(f"{module_name} did not fail: {result}")
