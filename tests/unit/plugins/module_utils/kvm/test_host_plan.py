from __future__ import annotations

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm import host_plan
from ansible_collections.virtstack.core.plugins.module_utils.kvm.host_plan import Release, Units
from ansible_collections.virtstack.core.plugins.module_utils.kvm.host_services import steps
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused

DEBIAN, UBUNTU = Release("debian", "debian", 12), Release("debian", "ubuntu", 24)
ROCKY8, ROCKY9, FEDORA = Release("redhat", "rocky", 8), Release("redhat", "rocky", 9), Release("redhat", "fedora", 41)


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ('ID=debian\nVERSION_ID="12"\n', DEBIAN),
        ('NAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n', UBUNTU),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n', ROCKY9),
        ("ID=fedora\nVERSION_ID=41\n", FEDORA),
        ("ID=debian\n", Release("debian", "debian", 0)),
    ],
)
def test_a_system_is_known_by_its_os_release(text: str, release: Release) -> None:
    assert host_plan.release_of(text) == release


def test_an_unknown_system_is_refused_by_its_name() -> None:
    with pytest.raises(Refused, match="This host is Arch Linux"):
        host_plan.release_of('ID=arch\nPRETTY_NAME="Arch Linux"\n')


def test_packages_are_those_of_the_system_and_its_architecture() -> None:
    assert host_plan.packages(DEBIAN, "x86_64", ["uefi", "tpm"], ["vim", "swtpm"]) == [
        "qemu-system-x86",
        "libvirt-daemon-system",
        "libvirt-clients",
        "qemu-utils",
        "python3-libvirt",
        "ovmf",
        "swtpm",
        "swtpm-tools",
        "vim",
    ]
    arm = host_plan.packages(DEBIAN, "aarch64", ["uefi"], [])
    assert {"qemu-system-arm", "qemu-efi-aarch64"} <= set(arm)
    red_hat = host_plan.packages(ROCKY9, "x86_64", ["uefi", "iscsi"], [])
    assert {"qemu-kvm", "libvirt-daemon-kvm", "edk2-ovmf", "iscsi-initiator-utils"} <= set(red_hat)
    with pytest.raises(Refused, match="no package of QEMU for vax"):
        host_plan.packages(DEBIAN, "vax", [], [])


@pytest.mark.parametrize(
    ("release", "asked", "present", "kind"),
    [
        (DEBIAN, "auto", [], "monolithic"),
        (ROCKY8, "auto", [], "monolithic"),
        (ROCKY9, "auto", [], "modular"),
        (FEDORA, "auto", ["libvirtd", "virtqemud"], "modular"),
        (FEDORA, "auto", ["libvirtd"], "monolithic"),
        (DEBIAN, "auto", ["virtqemud"], "modular"),
        (DEBIAN, "modular", ["libvirtd"], "modular"),
    ],
)
def test_daemons_are_those_in_use_before_those_of_the_vendor(
    release: Release, asked: str, present: list[str], kind: str
) -> None:
    assert host_plan.daemons(release, asked, present) == kind


def test_one_kind_of_daemons_takes_the_place_of_the_other() -> None:
    one, other = host_plan.units("monolithic", tls=True, tcp=None), host_plan.units("modular", tls=None, tcp=False)
    assert {"libvirtd.socket", "libvirtd-tls.socket"} <= set(one.wanted) and "virtlogd.socket" in one.helpers
    assert {"virtqemud.socket", "virtqemud.service"} <= set(one.unwanted)
    assert {"virtqemud.socket", "virtstoraged-ro.socket", "virtproxyd.socket"} <= set(other.wanted)
    assert {"libvirtd.service", "libvirtd-tls.socket", "virtproxyd-tcp.socket"} <= set(other.unwanted)
    # A socket starts nothing that is to start with the host by itself: guests and networks that ask for it.
    assert one.at_boot == ["libvirtd.service"]
    assert {"virtqemud.service", "virtnetworkd.service"} <= set(other.at_boot)
    assert not set(one.wanted) & set(one.unwanted) and not set(other.wanted) & set(other.unwanted)
    # A listener that nobody spoke of is neither opened nor closed.
    assert "libvirtd-tcp.socket" not in {*one.wanted, *one.unwanted}
    assert "virtproxyd-tls.socket" not in {*other.wanted, *other.unwanted}


def test_tcp_without_authentication_is_there_only_by_its_name() -> None:
    assert host_plan.tcp_listener(True, {}) is True
    assert host_plan.tcp_listener(False, {"auth_tcp": '"none"', "listen_tcp": "1"}) is False
    assert host_plan.tcp_listener(False, {"auth_tcp": '"sasl"', "listen_tcp": "1"}) is None
    opened = host_plan.listener_settings(tls=True, tcp=True, sockets=False)
    assert opened == {"auth_tcp": "none", "listen_tls": True, "listen_tcp": True}
    assert host_plan.listener_settings(tls=True, tcp=False, sockets=True) == {"auth_tcp": None}
    assert host_plan.listener_settings(tls=None, tcp=None, sockets=False) == {}
    assert host_plan.ports(tls=True, tcp=None, more=["22/tcp"]) == ["16514/tcp", "49152-49215/tcp", "22/tcp"]


UNITS = Units(
    wanted=["a.socket", "b.socket"],
    unwanted=["c.socket", "d.service"],
    daemons=["a.service"],
    at_boot=["a.service"],
    helpers=("h.socket",),
)


def test_units_that_are_as_they_are_to_be_are_left_alone() -> None:
    states = {
        "a.socket": ("enabled", True),
        "b.socket": ("static", True),
        "c.socket": ("disabled", False),
        "d.service": ("static", False),
        "a.service": ("enabled", False),
    }
    nothing = {"stopped": [], "enabled": [], "started": [], "restarted": []}
    assert steps(UNITS, states, edited=False, whole=True) == nothing
    assert steps(UNITS, states, edited=True, whole=True) == {**nothing, "restarted": ["a.service"]}


def test_units_are_enabled_started_and_stopped_where_they_are_not() -> None:
    states = {
        "a.socket": ("disabled", True),
        "b.socket": ("enabled", False),
        "c.socket": ("enabled", False),
        "d.service": ("static", True),
        "a.service": ("disabled", False),
    }
    assert steps(UNITS, states, edited=False, whole=True) == {
        "stopped": ["c.socket", "d.service"],
        "enabled": ["a.socket", "a.service"],
        "started": ["b.socket"],
        "restarted": [],
    }


def test_a_unit_that_is_not_there_is_named_once_its_package_must_be() -> None:
    with pytest.raises(Refused, match=r"does not know b\.socket"):
        steps(UNITS, {"a.socket": ("enabled", True)}, edited=False, whole=True)
    assert steps(UNITS, {}, edited=False, whole=False)["started"] == ["a.socket", "b.socket", "h.socket"]


def test_a_helper_without_a_package_is_not_missed_and_one_that_is_there_is_started() -> None:
    states = {"a.socket": ("enabled", True), "b.socket": ("enabled", True), "a.service": ("enabled", True)}
    assert not any(steps(UNITS, states, edited=False, whole=True).values())
    assert steps(UNITS, {**states, "h.socket": ("disabled", False)}, edited=False, whole=True)["started"] == [
        "h.socket"
    ]


def test_a_unit_that_somebody_masked_is_not_unmasked() -> None:
    states = {"a.socket": ("masked", False), "b.socket": ("enabled", True), "a.service": ("enabled", True)}
    with pytest.raises(Refused, match=r"run `systemctl unmask a\.socket`"):
        steps(UNITS, states, edited=False, whole=True)
