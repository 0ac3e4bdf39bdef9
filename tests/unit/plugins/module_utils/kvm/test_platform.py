"""What a host can run, by what libvirt says of it."""

from __future__ import annotations

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.platform import (
    Platform,
    is_same_family,
    is_same_machine,
)
from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import parse
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused

CAPABILITIES = """
<domainCapabilities>
  <machine>pc-q35-7.2</machine>
  <os><enum name='firmware'/></os>
  <cpu>
    <mode name='host-passthrough' supported='no'/>
    <mode name='maximum' supported='yes'/>
    <mode name='host-model' supported='no'/>
    <mode name='custom' supported='yes'>
      <model usable='yes'>qemu64</model>
      <model usable='no'>EPYC-Milan</model>
    </mode>
  </cpu>
  <devices><tpm><enum name='backendModel'><value>passthrough</value></enum></tpm></devices>
</domainCapabilities>"""
HOST = Platform("qemu", "x86_64", "pc-q35-7.2", parse(CAPABILITIES))
MOCK = Platform("test", "i686", "pc")


def test_the_best_cpu_that_is_there_is_taken() -> None:
    assert HOST.cpu_mode == "maximum"
    assert MOCK.cpu_mode is None


@pytest.mark.parametrize("model", ["qemu64", "maximum"])
def test_a_model_that_the_host_has_is_taken(model: str) -> None:
    HOST.check_cpu(model)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("Nonsense", 'knows no CPU model "Nonsense"; it can run qemu64'),
        ("EPYC-Milan", "cannot run EPYC-Milan"),
        ("host-passthrough", "use maximum"),
    ],
)
def test_another_is_refused_with_those_that_it_has(model: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        HOST.check_cpu(model)


def test_firmware_that_is_not_installed_is_refused_with_what_to_install() -> None:
    with pytest.raises(Refused, match="install OVMF"):
        HOST.check_firmware("efi", None)
    with pytest.raises(Refused, match="install swtpm"):
        HOST.check_firmware("bios", True)
    HOST.check_firmware("bios", False)


def test_a_host_of_which_nothing_is_known_refuses_nothing() -> None:
    MOCK.check_cpu("Nonsense")
    MOCK.check_firmware("efi", True)


def test_a_machine_type_without_a_version_stands_for_all_of_them() -> None:
    assert is_same_machine("pc-q35-7.2", "q35") and is_same_machine("q35", "pc-q35-7.2")
    assert not is_same_machine("pc-q35-7.2", "pc") and not is_same_machine("pc-q35-7.2", "pc-q35-6.2")
    assert is_same_family("pc-q35-7.2", "pc-q35-6.2") and not is_same_family("pc-q35-7.2", "pc-i440fx-7.2")
