from __future__ import annotations

from ansible_collections.virtstack.core.plugins.module_utils.kvm.overlay import (
    Keys,
    attributes,
    gone,
    instead,
    laid_over,
    whole,
)
from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import parse, same

KEYS: Keys = {"list/item": attributes("mac")}
LIVE = parse("<top keep='yes'><list><item mac='52:54:00:00:00:0a' ip='10.0.0.1'/><item mac='b'/></list><other/></top>")


def test_what_is_not_mentioned_stays() -> None:
    result = laid_over(LIVE, parse("<top new='1'><list><item mac='c'/></list></top>"), KEYS)
    wanted = "<top keep='yes' new='1'><list><item mac='52:54:00:00:00:0a' ip='10.0.0.1'/><item mac='b'/><item mac='c'/>"
    assert same(result, parse(f"{wanted}</list><other/></top>"))


def test_another_spelling_of_the_same_value_is_no_change() -> None:
    overlay = parse("<top><list><item mac='52:54:00:00:00:0A' ip='10.0.0.1'/></list></top>")
    assert same(laid_over(LIVE, overlay, KEYS), LIVE)
    live = parse("<ip address='fd00::1'/>")
    assert same(laid_over(live, parse("<ip address='FD00:0:0::1'/>"), {}), live)


def test_an_item_marked_gone_goes_and_only_that_one() -> None:
    overlay = parse("<top><list><item mac='b'/><item mac='never'/></list></top>")
    for item in overlay.iter("item"):
        gone(item)
    wanted = "<top keep='yes'><list><item mac='52:54:00:00:00:0a' ip='10.0.0.1'/></list><other/></top>"
    assert same(laid_over(LIVE, overlay, KEYS), parse(wanted))


def test_of_a_whole_list_what_is_not_named_goes() -> None:
    overlay = parse("<top><list><item mac='b' ip='2'/></list></top>")
    whole(overlay.find("list"), "item")  # type: ignore[arg-type]
    wanted = parse("<top keep='yes'><list><item mac='b' ip='2'/></list><other/></top>")
    assert same(laid_over(LIVE, overlay, KEYS), wanted)


def test_an_element_instead_of_another_keeps_nothing_of_it() -> None:
    overlay = parse("<top><list><item mac='x'/></list></top>")
    instead(overlay.find("list"))  # type: ignore[arg-type]
    assert same(laid_over(LIVE, overlay, KEYS), parse("<top keep='yes'><list><item mac='x'/></list><other/></top>"))


def test_no_mark_gets_into_the_document() -> None:
    overlay = parse("<top><fresh><item mac='x'/></fresh></top>")
    whole(overlay.find("fresh"), "item")  # type: ignore[arg-type]
    instead(overlay.find("fresh/item"))  # type: ignore[arg-type]
    result = laid_over(LIVE, overlay, KEYS)
    assert all(not name.startswith("{") for element in result.iter() for name in element.attrib)
