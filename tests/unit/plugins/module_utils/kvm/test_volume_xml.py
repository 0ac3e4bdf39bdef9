from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtstack.core.plugins.module_utils.kvm.volume_options import VOLUME_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.kvm.volume_xml import (
    Declaration,
    Volume,
    bare_volume,
    is_capacity,
    new_volume,
    read_declaration,
    volume_of,
)
from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import parse, same
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused

GIB = 1024**3


def declared(**given: Any) -> Declaration:
    validated = ArgumentSpecValidator({"name": {"type": "str"}, **VOLUME_OPTIONS}).validate(
        {"name": "v", "pool": "p", **given}
    )
    assert not validated.error_messages, validated.error_messages
    return read_declaration(validated.validated_parameters)


def live(format_: str, capacity: int, allocation: int, physical: int, rest: str = "") -> Volume:
    return volume_of(
        f"<volume type='file'><name>v</name><capacity>{capacity}</capacity><allocation>{allocation}</allocation>"
        f"<physical>{physical}</physical><target><path>/p/v</path><format type='{format_}'/></target>{rest}</volume>"
    )


def test_a_new_qcow2_has_dirty_bitmaps_and_takes_no_space() -> None:
    document = new_volume(declared(format="qcow2", mode="600"), "dir", capacity=GIB)
    assert same(
        document,
        parse(
            f"<volume><name>v</name><capacity unit='bytes'>{GIB}</capacity><allocation unit='bytes'>0</allocation>"
            "<target><format type='qcow2'/><compat>1.1</compat><permissions><mode>0600</mode></permissions></target>"
            "</volume>"
        ),
    )


def test_a_volume_of_a_group_is_not_thin_unless_told() -> None:
    assert new_volume(declared(), "logical", capacity=GIB).find("allocation") is None
    assert new_volume(declared(allocation="0"), "logical", capacity=GIB).findtext("allocation") == "0"


def test_xml_says_the_rest_and_nothing_else() -> None:
    more = "<volume><target><nocow/></target></volume>"
    assert new_volume(declared(xml=more), "dir", capacity=GIB).find("target/nocow") is not None
    with pytest.raises(Refused, match="says something else"):
        new_volume(declared(xml="<volume><name>other</name></volume>"), "dir", capacity=GIB)


@pytest.mark.parametrize(
    ("wanted", "found", "format_", "pool", "same_size"),
    [
        (100_000_000, 100_000_768, "qcow2", "dir", True),
        (100_000_000, 100_001_024, "qcow2", "dir", False),
        (100_000_000, 100_000_768, "raw", "dir", False),
        (GIB - 1, GIB, "raw", "logical", True),
        (GIB + 1, GIB, "raw", "logical", False),
    ],
)
def test_a_capacity_is_the_declared_one_as_libvirt_rounds_it(
    wanted: int, found: int, format_: str, pool: str, same_size: bool
) -> None:
    assert is_capacity(wanted, found, format_, pool) is same_size


@pytest.mark.parametrize(
    ("volume", "blank"),
    [
        # Sizes as libvirt 9.0 and QEMU 7.2 give them.
        (live("qcow2", GIB, 200704, 196624), True),
        (live("qcow2", 1024 * GIB, 217088, 212992), True),
        (live("qcow2", GIB, 200704, 458752), False),
        (live("qcow2", GIB, 200704, 196624, "<backingStore><path>/p/b</path></backingStore>"), False),
        (live("raw", GIB, 0, GIB), True),
        (live("raw", GIB, 4096, GIB), False),
        (live("iso", GIB, 0, GIB), False),
    ],
)
def test_a_volume_looks_blank_where_nothing_was_written(volume: Volume, blank: bool) -> None:
    assert volume.looks_blank is blank


def test_a_volume_that_is_filled_anew_keeps_its_owner() -> None:
    kept = Volume(
        parse("<volume><target><permissions><mode>0640</mode><owner>7</owner></permissions></target></volume>")
    )
    document = bare_volume("v", 5, declared().options, kept)
    assert document.findtext("target/permissions/owner") == "7"
    assert bare_volume("v", 5, declared(owner=9).options, kept).findtext("target/permissions/owner") == "9"


def test_only_a_file_that_will_be_full_gets_its_room_at_once() -> None:
    assert bare_volume("v", 5, declared().options, None).findtext("allocation") == "0"
    assert bare_volume("v", 5, declared().options, None, is_full=True).findtext("allocation") == "5"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "../v"}, "is no name of a volume"),
        ({"pool": None}, "pool: is missing"),
        ({"capacity": "30GB"}, "use e.g. 30Gi"),
        ({"src": "/a", "clone": {"volume": "b"}}, "src and clone: a volume begins with one of them"),
        ({"checksum": "sha256:00"}, "give src, url or dest"),
        ({"preallocate_metadata": True}, "blank volume of format qcow2"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        declared(**given)
