from __future__ import annotations

from ansible_collections.virtstack.core.plugins.module_utils.kvm.usage import in_document, named
from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import parse

GUEST = parse(
    """<domain><name>db</name><devices>
    <disk type='file' device='disk'><source file='/d/top.qcow2'/>
      <backingStore type='file'><source file='/d/base.qcow2'/><backingStore/></backingStore></disk>
    <disk type='volume' device='disk'><source pool='p' volume='v'/>
      <mirror type='file'><source file='/d/m'/></mirror></disk>
    <disk type='file' device='cdrom'><source file='/d/x.iso'/></disk>
    <disk type='file' device='cdrom'><target dev='sdb'/></disk>
    <disk type='network' device='disk'><source protocol='rbd' name='vms/a'/></disk></devices></domain>"""
)


def test_a_disk_its_backing_files_and_its_mirror_are_in_use_but_only_some_are_written() -> None:
    found = {(use.path, use.volume): use.writes for use in in_document(GUEST, True)}
    assert found == {
        ("/d/top.qcow2", None): True,
        ("/d/base.qcow2", None): False,
        ("", "v"): True,
        ("/d/m", None): True,
        ("/d/x.iso", None): False,
        ("vms/a", None): True,
    }


def test_a_volume_is_known_by_its_path_and_by_its_name() -> None:
    uses = list(in_document(GUEST, True))
    assert named(use for use in uses if use.is_of("/d/base.qcow2", "other", "base.qcow2")) == "db"
    assert named(use for use in uses if use.is_of("/elsewhere/v", "p", "v")) == "db"
    assert not [use for use in uses if use.is_of("", "p", "other")]
