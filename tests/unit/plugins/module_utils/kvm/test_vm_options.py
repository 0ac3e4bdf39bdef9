"""The options of a machine on a KVM host: those of vm, with what only a cluster has refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_absent import read_delete_disks
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_options import (
    KVM_VM_OPTIONS,
    ONLY_A_CLUSTER,
    read_declaration,
    secrets,
)
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_options import VM_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure


def test_every_option_of_vm_is_taken_or_refused_by_name() -> None:
    assert set(VM_OPTIONS) <= {*KVM_VM_OPTIONS, *ONLY_A_CLUSTER}


@pytest.mark.parametrize("option", ONLY_A_CLUSTER)
def test_what_only_a_cluster_has_is_refused_with_what_to_use(option: str) -> None:
    with pytest.raises(Refused, match=f"{option}: is not for a KVM host; {ONLY_A_CLUSTER[option][:10]}"):
        read_declaration({"name": "db", option: {"some": "thing"}})


def test_the_name_may_stand_in_the_xml() -> None:
    assert read_declaration({"xml": "<domain><name>db</name></domain>"}).name == "db"
    with pytest.raises(Refused, match='but that in xml is "other"'):
        read_declaration({"name": "db", "xml": "<domain><name>other</name></domain>"})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "name: is missing"),
        ({"name": "no/name"}, "is no name"),
        ({"name": "db", "termination_grace_period": -1}, "less than 0 seconds"),
        ({"name": "db", "firmware": {"persistent": False}}, "always keeps EFI variables"),
        ({"name": "db", "disks": [{"name": "d", "boot_source": {"name": "x", "namespace": "y"}}]}, "boot_source.pool"),
        ({"name": "db", "cpu": {"dedicated": True}}, "cputune"),
    ],
)
def test_mistakes_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        read_declaration(options)


def test_passwords_in_xml_and_user_data_of_many_are_secrets() -> None:
    params = {
        "xml": "<domain><devices><graphics passwd='hunter22'/></devices></domain>",
        "vms": [{"cloud_init": {"user_data": "#!/bin/sh x"}, "xml": '<domain><a passwd="other"/></domain>'}],
    }
    assert secrets(params) == {"hunter22", "#!/bin/sh x", "other"}


def test_architectures_have_the_names_of_libvirt() -> None:
    assert read_declaration({"name": "a", "architecture": "arm64"}).architecture == "aarch64"


@pytest.mark.parametrize(
    ("value", "disks"),
    [
        (False, frozenset()),
        (None, frozenset()),
        ("no", frozenset()),
        (True, None),
        ("yes", None),
        ("True", None),
        (["a", "b"], frozenset({"a", "b"})),
        ("a, b", frozenset({"a", "b"})),
    ],
)
def test_disks_are_deleted_only_by_name_or_by_yes(value: Any, disks: frozenset[str] | None) -> None:
    assert read_delete_disks(value) == disks


@pytest.mark.parametrize("value", [1.5, {"a": 1}, [1]])
def test_what_is_neither_is_refused(value: Any) -> None:
    with pytest.raises(Failure, match="neither true nor false"):
        read_delete_disks(value)
