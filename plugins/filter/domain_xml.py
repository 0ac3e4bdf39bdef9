# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters C(to_domain_xml) and C(from_domain_xml); they are documented in files of their own names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtstack.core.plugins.module_utils.kvm.conversion import from_xml, to_xml
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_options import KVM_VM_OPTIONS, read_declaration
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from ansible_collections.virtstack.core.plugins.plugin_utils.direct import plain

TYPES = ("kvm", "qemu")


def to_domain_xml(machine: Any, type: str = "kvm") -> str:  # the name that a user writes
    """The domain that the options of C(kvm_vm) describe."""
    if not isinstance(machine, Mapping):
        raise AnsibleFilterError("to_domain_xml: takes a dictionary of the options of virtstack.core.kvm_vm.")
    if type not in TYPES:
        raise AnsibleFilterError(f"to_domain_xml: type {type} is not {' or '.join(TYPES)}.")
    options: dict[str, Any] = {"name": {"type": "str"}, "namespace": {"type": "raw"}, **KVM_VM_OPTIONS}
    checked = ArgumentSpecValidator(options).validate(plain(machine))
    if checked.error_messages:
        raise AnsibleFilterError(f"to_domain_xml: {' '.join(checked.error_messages)}")
    return _attempt("to_domain_xml", lambda: to_xml(read_declaration(checked.validated_parameters), str(type)))


def from_domain_xml(text: Any, rest: bool = False) -> dict[str, Any]:
    """The options of C(kvm_vm) that describe a domain."""
    if not isinstance(text, str):
        raise AnsibleFilterError("from_domain_xml: takes the XML of a domain as a text.")
    return _attempt("from_domain_xml", lambda: from_xml(str(text), rest=bool(rest)))


def _attempt(name: str, step: Callable[[], Any]) -> Any:
    try:
        return step()
    except Refused as refused:
        raise AnsibleFilterError(f"{name}: {' '.join(f'{problem}.' for problem in refused.problems)}") from refused


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"to_domain_xml": to_domain_xml, "from_domain_xml": from_domain_xml}
