"""XML by its meaning."""

from __future__ import annotations

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm import xml
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from domains import config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def test_what_is_no_xml_is_refused_with_its_place() -> None:
    with pytest.raises(Refused, match=r"xml: is no XML \(line 2, column \d+"):
        xml.parse("<domain>\n<name</domain>")


def test_metadata_of_others_keep_their_prefix() -> None:
    text = "<domain><metadata><nova:instance xmlns:nova='http://nova.example/1'/></metadata></domain>"
    other = text.replace("nova.example", "another.example")
    assert "<nova:instance" in xml.written(xml.parse(text))
    # A prefix that stands for something else by now is not taken from it.
    assert "another.example" in xml.written(xml.parse(other)) and "<nova:instance" in xml.written(xml.parse(text))


def test_entities_are_refused_before_they_are_read() -> None:
    with pytest.raises(Refused, match="DOCTYPE or entities"):
        xml.parse("<!DOCTYPE a [<!ENTITY b 'c'>]><domain>&b;</domain>")


def test_the_order_of_attributes_and_of_different_children_means_nothing() -> None:
    assert xml.same(xml.parse("<a x='1' y='2'><b/><c/></a>"), xml.parse("<a y='2' x='1'>\n <c/> <b/></a>"))


def test_the_order_of_children_of_one_name_means_something() -> None:
    differing = xml.differences(xml.parse("<a><b x='1'/><b x='2'/></a>"), xml.parse("<a><b x='2'/><b x='1'/></a>"))
    assert list(differing) == ["b[1]@x", "b[2]@x"]


def test_differences_are_named_by_their_paths() -> None:
    after = config()
    xml.ensure(after, "memory").text = "1"
    xml.remove(after, "devices/video")
    after.set("type", "kvm")
    assert set(xml.differences(config(), after)) == {"@type", "memory", "devices/video"}


def test_a_document_holds_what_is_declared_of_it_whatever_else_it_has() -> None:
    assert xml.holds(config(), xml.parse("<domain><devices><disk><target bus='sata'/></disk></devices></domain>"))
    assert not xml.holds(config(), xml.parse("<domain><devices><disk><target bus='usb'/></disk></devices></domain>"))


def test_one_child_does_not_stand_for_two_that_are_declared() -> None:
    assert not xml.holds(xml.parse("<a><b/></a>"), xml.parse("<a><b/><b/></a>"))


def test_passwords_are_not_shown_but_written() -> None:
    assert "hunter22" in xml.written(config())
    assert "hunter22" not in xml.shown(config())
    assert xml.shown(None) == ""


def test_ensure_makes_what_is_missing_and_finds_what_is_there() -> None:
    root = xml.parse("<a><b/></a>")
    assert xml.ensure(root, "b") is root[0]
    xml.ensure(root, "b/c/d").text = "deep"
    assert root.findtext("b/c/d") == "deep"


def test_remove_takes_all_of_a_name_and_minds_no_missing_place() -> None:
    root = xml.parse("<a><b/><b/><c/></a>")
    xml.remove(root, "b")
    xml.remove(root, "none/of/it")
    assert [child.tag for child in root] == ["c"]


def test_attributes_that_are_none_are_left_out() -> None:
    element = xml.make("a", "text", type_="x", other=None)
    assert (element.text, element.attrib) == ("text", {"type": "x"})


NAMES = st.sampled_from(["a", "b", "c"])
ATTRIBUTES = st.dictionaries(NAMES, st.text("xyz<&'\"", max_size=3), max_size=2)


def test_a_number_that_libvirt_writes_otherwise_is_the_same() -> None:
    live = xml.parse("<address domain='0x0000' bus='0x00' slot='0x1f' function='7'/>")
    assert xml.holds(live, xml.parse("<address domain='0' bus='0' slot='31' function='7'/>"))
    assert xml.holds(live, xml.parse("<address slot='0x1F'/>"))
    for other in ("<address slot='1f'/>", "<address slot='30'/>", "<address function='0x7'/>", "<address slot='x'/>"):
        assert not xml.holds(live, xml.parse(other))


@st.composite
def documents(draw: st.DrawFn, depth: int = 3) -> xml.Element:
    element = xml.make(draw(NAMES))
    element.attrib.update(draw(ATTRIBUTES))
    if depth:
        element.extend(draw(st.lists(documents(depth - 1), max_size=2)))  # type: ignore[call-arg]
    return element


# How long documents take to be made up depends on how busy the machine is.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@PATIENT
@given(documents())
def test_what_is_written_reads_as_the_same(document: xml.Element) -> None:
    assert xml.same(xml.parse(xml.written(document)), document)
    assert xml.holds(document, document)


@PATIENT
@given(documents(), documents())
def test_sameness_goes_both_ways(left: xml.Element, right: xml.Element) -> None:
    assert xml.same(left, right) == xml.same(right, left)
