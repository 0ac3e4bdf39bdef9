"""Label and field selectors, and what the server says of those it cannot read."""

from __future__ import annotations

import pytest
from virtlab.resource import Resource
from virtlab.selectors import matches, parse_fields, parse_labels
from virtlab.status import StatusError

PODS = Resource("", "v1", "Pod", "pods", custom=False)
SECRETS = Resource("", "v1", "ConfigMap", "configmaps", custom=False)
MACHINES = Resource("kubevirt.io", "v1", "VirtualMachine", "virtualmachines")


@pytest.mark.parametrize(
    ("text", "labels", "selected"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a!=b", {}, True),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("a in (x, y)", {"a": "y"}, True),
        ("a in (x,)", {"a": ""}, True),
        ("a notin (x)", {}, True),
        ("a notin (x)", {"a": "x"}, False),
        ("a=", {"a": ""}, True),
        ("n>3", {"n": "4"}, True),
        ("n<3", {"n": "4"}, False),
        ("a=b,c in (d),!e", {"a": "b", "c": "d"}, True),
        ("in in (in)", {"in": "in"}, True),
    ],
)
def test_label_selectors(text: str, labels: dict[str, str], selected: bool) -> None:
    assert matches(parse_labels(text), labels) is selected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("==", "found '==', expected: !, identifier, or 'end of string'"),
        ("app === web", "unable to parse requirement: found '=', expected: identifier"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
    ],
)
def test_a_label_selector_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(StatusError) as error:
        parse_labels(text)
    assert (error.value.code, error.value.message) == (400, message)


def test_field_selectors_look_at_known_fields() -> None:
    pod = {"metadata": {"name": "a", "namespace": "n"}, "spec": {"nodeName": "w"}, "status": {"phase": "Running"}}
    selected = parse_fields("spec.nodeName=w,status.phase!=Failed", PODS)
    assert all(requirement.matches(pod) for requirement in selected)
    assert not parse_fields("metadata.name=b", PODS)[0].matches(pod)


@pytest.mark.parametrize(
    ("resource", "text", "message"),
    [
        (PODS, "spec.nope=1", "field label not supported: spec.nope"),
        (MACHINES, "spec.runStrategy=Halted", "field label not supported: spec.runStrategy"),
        (SECRETS, "data.a=b", '"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        (SECRETS, "nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
    ],
)
def test_a_field_selector_that_is_refused(resource: Resource, text: str, message: str) -> None:
    with pytest.raises(StatusError) as error:
        parse_fields(text, resource)
    assert error.value.message == message


def test_a_crd_adds_selectable_fields() -> None:
    assert parse_fields("spec.color=red", MACHINES, ["spec.color"])[0].matches({"spec": {"color": "red"}})
