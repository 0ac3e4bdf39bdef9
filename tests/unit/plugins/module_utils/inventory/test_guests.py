"""Families of systems, ways in, and addresses that lead somewhere."""

from __future__ import annotations

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.inventory.guests import (
    is_windows,
    leads_to_guest,
    os_family,
    way_in,
)


@pytest.mark.parametrize(
    ("text", "family"),
    [("rhel.9", "rhel"), ("RHEL9.4", "rhel"), ("windows.2k22", "windows"), ("mswindows", "windows"), ("9", None)],
)
def test_a_family_is_what_a_name_begins_with(text: str, family: str | None) -> None:
    assert os_family(text) == family


def test_only_a_windows_is_entered_in_its_own_way() -> None:
    assert is_windows({"virtstack_os": "windows"})
    assert way_in({"virtstack_os": "rhel"}, "winrm") == ("ssh", {})
    assert way_in({"virtstack_os": "windows"}, "psrp") == ("psrp", {"ansible_connection": "psrp"})
    assert way_in({"virtstack_os": "windows"}, "none") == ("ssh", {})
    assert way_in({"virtstack_os": "windows"}, "ssh")[1]["ansible_shell_type"] == "cmd"


@pytest.mark.parametrize(
    ("address", "family", "leads"),
    [
        ("10.0.0.5", "any", True),
        ("10.0.0.5", "ipv6", False),
        ("2001:db8::5", "ipv6", True),
        ("fe80::1%eth0", "any", False),
        ("169.254.1.1", "any", False),
        ("127.0.0.1", "any", False),
        ("nowhere", "any", False),
    ],
)
def test_an_address_of_the_link_leads_nowhere(address: str, family: str, leads: bool) -> None:
    assert leads_to_guest(address, family) is leads
