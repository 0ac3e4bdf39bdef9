"""What images say of their backing files, and which names lead to one file."""

from __future__ import annotations

from typing import NoReturn

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm import backing
from ansible_collections.virtstack.core.plugins.module_utils.kvm.backing import Images, Overlay, Times, is_there
from ansible_collections.virtstack.core.plugins.module_utils.kvm.errors import KvmError


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("/pool/a/../base", "/pool/base"),
        ("file:/pool/base", "/pool/base"),
        ('json:{"driver": "qcow2", "file": {"driver": "file", "filename": "/pool/base"}}', "/pool/base"),
        ('json:{"driver": "qcow2", "file.driver": "file", "file.filename": "/pool//base"}', "/pool/base"),
        ('json:{"driver": "nbd", "host": "there"}', 'json:{"driver": "nbd", "host": "there"}'),
        ("json:{broken", "json:{broken"),
        ("nbd://there/base", "nbd://there/base"),
    ],
)
def test_the_path_of_a_backing_file_is_found(said: str, path: str) -> None:
    assert backing._local(said) == path


def test_names_are_of_one_file_by_its_times() -> None:
    times = Times("1.5", "2.5", "3.5")
    later = Times("1.5", "2.5", "4.5")
    found = Images([], {"/a/x": times, "/link/x": later, "/latest": times, "/a/made-at-once": later, "/b/x": later})
    # One that is called otherwise must have been read at the same time, too.
    assert found.names("/a/x") == {"/a/x", "/link/x", "/latest", "/b/x"}
    assert found.names("/a//unknown") == {"/a/unknown"}


def test_an_image_is_above_a_file_by_whatever_name() -> None:
    times = Times("1.5", "2.5", "3.5")
    top = Overlay(None, "top", "/link/top", "/link/base", times)
    found = Images(
        [top], {"/a/base": times, "/a/top": Times("5.5", "5.5", "5.5"), "/link/top": Times("5.5", "5.5", "6")}
    )
    assert list(found.above("/a/base")) == [top]
    assert list(found.above("/a/base", {"/a/top"})) == []


def test_an_image_that_cannot_be_looked_at_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_arguments: object) -> NoReturn:
        raise KvmError("Cannot open the directory /a on test:///default: too many open files.")

    monkeypatch.setattr(backing, "Folder", closed)
    assert is_there(None, Overlay(None, "top", "/a/top", "/a/base"))  # type: ignore[arg-type]
