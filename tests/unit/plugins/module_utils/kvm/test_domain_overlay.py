"""Libvirt's own XML laid over a domain."""

from __future__ import annotations

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.domain_overlay import overlay
from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import Element, differences, parse, written
from domains import config


def laid(text: str, domain: Element | None = None) -> Element:
    found = config() if domain is None else domain
    overlay(found, parse(f"<domain>{text}</domain>"))
    return found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<memory unit='MiB'>256</memory><currentMemory>262144</currentMemory>",
        "<vcpu>2</vcpu>",
        "<features><acpi/></features>",
        "<clock><timer name='hpet' present='no'/></clock>",
        "<devices><disk><target dev='vda'/><driver discard='unmap'/></disk></devices>",
        "<devices><interface><mac address='52:54:00:60:19:C3'/><model type='virtio'/></interface></devices>",
        "<devices><controller type='pci' index='0' model='pcie-root'/></devices>",
        "<devices><graphics type='vnc'/></devices>",
    ],
)
def test_what_is_there_already_is_not_written(text: str) -> None:
    assert list(differences(config(), laid(text))) == []


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("<memory unit='GiB'>1</memory>", ["memory", "memory@unit"]),
        ("<cputune><shares>512</shares></cputune>", ["cputune"]),
        ("<clock><timer name='kvmclock' present='yes'/></clock>", ["clock/timer[3]"]),
        ("<clock><timer name='hpet' present='yes'/></clock>", ["clock/timer[2]@present"]),
        ("<devices><disk><alias name='ua-root'/><driver discard='ignore'/></disk></devices>", None),
        ("<devices><watchdog model='itco' action='reset'/></devices>", ["devices/watchdog"]),
        ("<devices><memballoon><stats period='5'/></memballoon></devices>", ["devices/memballoon/stats@period"]),
        ("<devices><video><model type='virtio'/></video></devices>", ["devices/video/model@type"]),
        ("<devices><rng model='virtio'/></devices>", ["devices/rng"]),
    ],
)
def test_only_what_is_given_is_set(text: str, paths: list[str] | None) -> None:
    found = list(differences(config(), laid(text)))
    assert found == (paths or ["devices/disk[1]/driver@discard"])


@pytest.mark.parametrize(
    "text",
    [
        "<devices><hostdev mode='subsystem' type='pci'><source><address bus='0x3'/></source></hostdev></devices>",
        "<devices><serial type='file'><source path='/a'/></serial></devices>",
        "<devices><filesystem><source dir='/s'/><target dir='t'/></filesystem></devices>",
        "<devices><disk type='file'><source file='/x'/><target dev='vdq' bus='virtio'/></disk></devices>",
        "<cputune><vcpupin vcpu='0' cpuset='1'/><vcpupin vcpu='1' cpuset='2'/></cputune>",
        "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='-a'/></q:commandline>",
    ],
)
def test_one_more_is_added_once(text: str) -> None:
    once = laid(text)
    assert list(differences(config(), once))
    again = laid(text, parse(written(once)))
    assert list(differences(once, again)) == []


def test_two_of_a_kind_that_differ_are_two() -> None:
    first = laid("<devices><hostdev type='pci'><source><address bus='0x3'/></source></hostdev></devices>")
    both = laid("<devices><hostdev type='pci'><source><address bus='0x4'/></source></hostdev></devices>", first)
    assert len(both.findall("devices/hostdev")) == 2


def test_the_root_is_given_its_attributes() -> None:
    domain = config()
    overlay(domain, parse("<domain type='kvm'/>"))
    assert domain.get("type") == "kvm"
