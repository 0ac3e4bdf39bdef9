from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.conf_file import edited, settings_of
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused

FILE = """# Master configuration
#
# The user for QEMU processes. Examples:
#       user = "qemu"   # A user named "qemu"
#       user = "100"
#
#user = "libvirt-qemu"

#cgroup_device_acl = [
#    "/dev/null", "/dev/full",
#    "/dev/ptmx"
#]
vnc_listen = "127.0.0.1" # kept local
max_files = 1
max_files = 2
namespaces = [
    "mount",
    "net"
]
"""


def test_a_new_setting_stands_behind_the_comment_that_shows_it() -> None:
    lines = edited(FILE, {"user": "root", "cgroup_device_acl": ["/dev/kvm"]}, "it").splitlines()
    assert lines[lines.index('#user = "libvirt-qemu"') + 1] == 'user = "root"'
    assert lines[lines.index("#]") + 1] == 'cgroup_device_acl = [ "/dev/kvm" ]'


def test_a_setting_is_changed_where_it_is_and_nothing_else_is() -> None:
    changed = edited(FILE, {"vnc_listen": "0.0.0.0", "namespaces": []}, "it")
    assert settings_of(changed)["vnc_listen"] == '"0.0.0.0"'
    assert settings_of(changed)["namespaces"] == "[]"
    kept = [line for line in FILE.splitlines() if line.startswith("#")]
    assert [line for line in changed.splitlines() if line.startswith("#")] == kept
    assert "mount" not in changed


def test_of_several_the_last_is_changed_and_the_others_go() -> None:
    changed = edited(FILE, {"max_files": 3}, "it")
    assert [line for line in changed.splitlines() if line.startswith("max_files")] == ["max_files = 3"]


def test_a_setting_can_be_taken_away() -> None:
    changed = edited(FILE, {"max_files": None, "namespaces": None, "absent": None}, "it")
    assert settings_of(changed) == {"vnc_listen": '"127.0.0.1" # kept local'}


def test_a_setting_that_nothing_shows_comes_last_and_an_empty_file_can_have_one() -> None:
    assert edited(FILE, {"new": True}, "it").splitlines()[-1] == "new = 1"
    assert edited("", {"listen_tls": False}, "it") == "listen_tls = 0\n"
    assert edited("", {}, "it") == ""


@pytest.mark.parametrize(
    "settings",
    [
        {"user": "root", "max_files": 5, "namespaces": ["a", "b"], "new": 'say "so"', "security_driver": []},
        {"vnc_listen": "::", "cgroup_device_acl": ["/dev/null"]},
        {"max_files": None},
    ],
)
def test_editing_once_more_changes_nothing(settings: dict[str, Any]) -> None:
    once = edited(FILE, settings, "it")
    assert edited(once, settings, "it") == once


@pytest.mark.parametrize("name", ["libvirtd.conf", "qemu.conf"])
def test_the_files_that_libvirt_ships_can_be_edited(name: str) -> None:
    path = Path("/etc/libvirt") / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    settings = {"max_clients": 77, "user": "root", "cgroup_device_acl": ["/dev/null", "/dev/zero"]}
    changed = edited(path.read_text(), settings, name)
    assert {**settings_of(path.read_text()), **settings_of(changed)} == settings_of(changed)
    assert settings_of(changed)["max_clients"] == "77"
    assert edited(changed, settings, name) == changed
    assert changed.count("\n") == path.read_text().count("\n") + 3


@pytest.mark.parametrize("settings", [{"a b": 1}, {"a": "x\ny"}, {"a": "'\""}, {"a": {"b": 1}}])
def test_what_cannot_be_written_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="it"):
        edited(FILE, settings, "it")
