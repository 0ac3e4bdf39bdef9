"""Names and addresses that the systems behind a machine accept."""

from __future__ import annotations

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.machine import names
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused


@pytest.mark.parametrize("name", ["db", "db-1", "db.prod", "1", "a" * 253])
def test_a_dns_subdomain_names_a_machine(name: str) -> None:
    assert names.machine_name(name) == name


@pytest.mark.parametrize("name", ["Bad_Name", "-db", "db-", "db..prod", "", "a" * 254, "db prod", "dÜ"])
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(Refused, match="lower-case letters"):
        names.machine_name(name)


def test_a_device_name_has_no_dots_and_at_most_63_characters() -> None:
    assert names.device_name("root-1", "disks: name") == "root-1"
    for name in ("root.1", "r" * 64):
        with pytest.raises(Refused):
            names.device_name(name, "disks: name")


def test_a_mac_address_is_written_in_lower_case_with_colons() -> None:
    assert names.mac_address("02-AB-00-00-00-0F", "mac") == "02:ab:00:00:00:0f"


@pytest.mark.parametrize(
    "address", ["02:00:00:00:00", "02:00:00:00:00:0g", "02:00-00:00:00:01", "020000000001", "03:00:00:00:00:01", ""]
)
def test_what_is_no_mac_address_of_a_device_is_refused(address: str) -> None:
    with pytest.raises(Refused, match="mac"):
        names.mac_address(address, "mac")
