from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtstack.core.plugins.module_utils.kvm.pool_xml import declared, place, restored
from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import parse, same
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from ansible_collections.virtstack.core.plugins.modules.kvm_pool import SPEC

# As libvirt 9.0 gives it out.
NETFS = """<pool type='netfs'><name>p</name><uuid>3c0d5f52-70f7-43ba-919f-1093288541cb</uuid>
<capacity unit='bytes'>5</capacity><allocation unit='bytes'>3</allocation><available unit='bytes'>2</available>
<source><host name='nfs.example'/><dir path='/x'/><format type='nfs'/></source>
<target><path>/srv/p</path><permissions><mode>0711</mode><owner>0</owner><group>0</group></permissions></target></pool>"""


def options(**given: Any) -> dict[str, Any]:
    validated = ArgumentSpecValidator(dict(SPEC.options)).validate({"name": "p", **given})
    assert not validated.error_messages, validated.error_messages
    return dict(validated.validated_parameters)


def wanted(live: str | None, **given: Any) -> Element:
    return declared("p", options(**given), restored(live) if live else None)


def test_what_is_there_already_is_no_change() -> None:
    assert same(wanted(NETFS), restored(NETFS))
    given = wanted(NETFS, type="netfs", mode="711", target="/srv/p/", source={"hosts": [{"name": "nfs.example"}]})
    assert same(given, restored(NETFS))


def test_declared_hosts_are_all_hosts_and_the_rest_of_the_source_stays() -> None:
    given = wanted(NETFS, source={"hosts": [{"name": "new", "port": 2049}]})
    source = parse("<source><dir path='/x'/><format type='nfs'/><host name='new' port='2049'/></source>")
    assert same(given.find("source"), source)  # type: ignore[arg-type]
    assert not same(place(given), place(restored(NETFS)))


def test_rights_on_the_directory_are_no_reason_to_restart() -> None:
    given = wanted(NETFS, mode="0755", owner=64055)
    assert not same(given, restored(NETFS))
    assert same(place(given), place(restored(NETFS)))


def test_a_pool_of_ceph_names_its_secret() -> None:
    given = wanted(
        None,
        type="rbd",
        source={
            "hosts": [{"name": "m1", "port": 6789}, {"name": "m2"}],
            "name": "vms",
            "auth": {"username": "libvirt", "secret_uuid": "2ec115d7-3a88-3ceb-bc12-0ac909a6fd87"},
        },
    )
    assert same(
        given,
        parse(
            "<pool type='rbd'><name>p</name><source><host name='m1' port='6789'/><host name='m2'/><name>vms</name>"
            "<auth type='ceph' username='libvirt'><secret uuid='2ec115d7-3a88-3ceb-bc12-0ac909a6fd87'/></auth>"
            "</source></pool>"
        ),
    )


def test_a_target_of_iscsi_has_its_usual_directory_and_logs_in_by_chap() -> None:
    given = wanted(
        None,
        type="iscsi",
        source={
            "hosts": [{"name": "h"}],
            "devices": ["iqn.2026-01.example:a"],
            "initiator": "iqn.2026-01.example:me",
            "auth": {"username": "u", "secret_usage": "chap"},
        },
    )
    assert given.findtext("target/path") == "/dev/disk/by-path"
    assert same(
        given.find("source/auth"),  # type: ignore[arg-type]
        parse("<auth type='chap' username='u'><secret usage='chap'/></auth>"),
    )
    assert given.find("source/initiator/iqn").get("name") == "iqn.2026-01.example:me"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("live", "given", "told"),
    [
        (None, {}, "type: is missing"),
        (None, {"type": "dir"}, "target: is missing; a pool of type dir needs it"),
        (None, {"type": "netfs", "target": "/x"}, "source.hosts: is missing.*source.directory: is missing"),
        (None, {"type": "dir", "target": "relative"}, "no absolute path"),
        (None, {"type": "dir", "target": "/x", "mode": "rwx"}, "is no mode"),
        (None, {"name": "a/b", "type": "mpath"}, "is no name of a pool"),
        (NETFS, {"type": "dir"}, "of type netfs, which cannot become dir"),
        (NETFS, {"xml": "<pool>"}, "is no XML"),
        (NETFS, {"target": "/y", "xml": "<pool><target><path>/z</path></target></pool>"}, "says something else"),
    ],
)
def test_what_cannot_be_is_refused(live: str | None, given: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        declared(given.get("name", "p"), options(**given), restored(live) if live else None)
