"""The house keeps its own rules: rooms, arrows, groups, procedures."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = REPOSITORY / "plugins" / "modules"
COLLECTION = "ansible_collections.virtstack.core"
LINE_LIMIT = 620
MODULE_NAMES = sorted(path.stem for path in MODULES.glob("*.py") if path.stem != "__init__")


def imports(path: Path) -> Iterator[str]:
    """The absolute names of the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_rooms(directory: str) -> Iterator[tuple[Path, str]]:
    for path in sorted((REPOSITORY / directory).rglob("*.py")):
        yield from ((path, name) for name in imports(path))


FORBIDDEN_ARROWS = [
    ("plugins/module_utils/cluster", "plugins.module_utils.objects"),
    ("plugins/module_utils/cluster", "plugins.module_utils.kvm"),
    ("plugins/module_utils/machine", "plugins.module_utils.cluster"),
    ("plugins/module_utils/machine", "plugins.module_utils.objects"),
    ("plugins/module_utils/machine", "plugins.module_utils.kvm"),
    ("plugins/module_utils/objects", "plugins.module_utils.kvm"),
    ("plugins/module_utils/kvm", "plugins.module_utils.objects"),
    ("plugins/module_utils/kvm", "plugins.module_utils.cluster"),
    ("plugins/module_utils/inventory", "plugins.module_utils.cluster"),
    ("plugins/module_utils/inventory", "plugins.module_utils.objects"),
    ("plugins/module_utils/inventory", "plugins.module_utils.kvm"),
    ("plugins/module_utils", "plugins.modules"),
    ("plugins/modules", "plugins.modules"),
    ("plugins/modules", "plugins.plugin_utils"),
    ("plugins/inventory", "plugins.modules"),
]


@pytest.mark.parametrize(("room", "other"), FORBIDDEN_ARROWS)
def test_arrows_run_one_way(room: str, other: str) -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)} imports {name}"
        for path, name in imported_rooms(room)
        if name.startswith(f"{COLLECTION}.{other}")
    ]
    assert not wrong


def test_the_lab_and_the_collection_import_nothing_of_each_other() -> None:
    wrong = [str(path) for path, name in imported_rooms("plugins") if name.split(".")[0] == "virtlab"]
    wrong += [str(path) for path, name in imported_rooms("lab") if name.startswith("ansible")]
    assert not wrong


def test_machine_descriptions_need_no_ansible_and_no_client() -> None:
    wrong = [
        f"{path.name} imports {name}"
        for path, name in imported_rooms("plugins/module_utils/machine")
        if name.split(".")[0] in ("kubernetes", "libvirt", "urllib3", "ansible")
    ]
    assert not wrong


def test_no_file_outgrows_its_subject() -> None:
    sources = [path for room in ("plugins", "lab", "tests") for path in (REPOSITORY / room).rglob("*.py")]
    long = {path.name: count for path in sources if (count := len(path.read_text().splitlines())) > LINE_LIMIT}
    # A module file is mostly its documentation, which is not counted against it.
    assert {name for name in long if name.removesuffix(".py") not in MODULE_NAMES} == set()


def test_no_file_is_named_after_nothing() -> None:
    names = {path.stem for room in ("plugins", "lab", "tests") for path in (REPOSITORY / room).rglob("*.py")}
    assert names.isdisjoint({"utils", "helpers", "common", "misc"})


@pytest.mark.parametrize("name", MODULE_NAMES)
def test_a_module_file_is_thin(name: str) -> None:
    source = (MODULES / f"{name}.py").read_text()
    documented = re.compile(r'^(DOCUMENTATION|EXAMPLES|RETURN) = r?"""$.*?^"""$', re.MULTILINE | re.DOTALL)
    assert len(documented.sub("", source).splitlines()) <= 150


@pytest.mark.parametrize("name", MODULE_NAMES)
def test_every_module_has_an_action_plugin(name: str) -> None:
    assert (REPOSITORY / "plugins" / "action" / f"{name}.py").is_file()


def test_action_groups_are_the_modules_that_exist() -> None:
    groups: dict[str, list[str]] = yaml.safe_load((REPOSITORY / "meta" / "runtime.yml").read_text())["action_groups"]
    assert sorted(groups) == ["cluster", "kvm"]
    assert groups["kvm"] == [name for name in MODULE_NAMES if name.startswith("kvm_")]
    assert groups["cluster"] == [name for name in MODULE_NAMES if not name.startswith("kvm_")]


def test_the_oldest_ansible_is_the_one_the_tests_run_on() -> None:
    runtime = yaml.safe_load((REPOSITORY / "meta" / "runtime.yml").read_text())
    assert runtime["requires_ansible"] == ">=2.16.0"
    assert "ansible-core==2.16.*" in (REPOSITORY / "bin" / "test").read_text()


# docs/procedures.md: | `capability` | by hand | task: `virtstack.core.vm(disks.boot_source)` | test: `path::name` |
ROW = re.compile(r"^\| `(?P<id>[a-z0-9-]+)` \| (?P<hand>.+) \| (?P<task>.+) \| (?P<test>.+) \|$", re.MULTILINE)
TASK = re.compile(r"`virtstack\.core\.(?P<name>\w+)(?:#(?P<kind>\w+))?(?:\((?P<options>[\w., ]*)\))?`")
TEST = re.compile(r"`(?P<path>tests/[\w./-]+)(?:::(?P<name>\w+))?`")


def procedures() -> list[dict[str, str]]:
    text = (REPOSITORY / "docs" / "procedures.md").read_text()
    return [match.groupdict() for match in ROW.finditer(text)]


def options_of(name: str, wanted: str | None) -> dict[str, Any]:
    """What a module, or else a plugin of that name, takes, with the options inside options.

    Where a module has the name as well, a plugin is meant by its kind, as in C(vm#connection).
    """
    if wanted is None and (MODULES / f"{name}.py").is_file():
        return dict(importlib.import_module(f"{COLLECTION}.plugins.modules.{name}").SPEC.options)
    found: dict[str, Any] = {}
    for kind in ("inventory", "connection"):
        if (REPOSITORY / "plugins" / kind / f"{name}.py").is_file():
            plugin = importlib.import_module(f"{COLLECTION}.plugins.{kind}.{name}")
            found |= yaml.safe_load(plugin.DOCUMENTATION)["options"]
    # A filter's documentation stands beside it, in a file for each name.
    for path in (REPOSITORY / "plugins" / "filter").glob(f"{name}.yml"):
        found |= yaml.safe_load(path.read_text())["DOCUMENTATION"]["options"]
    assert found, f"there is no module and no plugin {name}"
    return found


def has_option(options: dict[str, Any], dotted: str) -> bool:
    for part in dotted.split("."):
        if part not in options:
            return False
        options = options[part].get("options") or options[part].get("suboptions") or {}
    return True


def test_every_line_of_the_procedures_is_a_row_that_this_test_can_read() -> None:
    text = (REPOSITORY / "docs" / "procedures.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert lines
    assert len(procedures()) == len(lines)


@pytest.mark.parametrize("row", procedures(), ids=lambda row: str(row["id"]))
def test_a_procedure_names_modules_options_and_tests_that_exist(row: dict[str, str]) -> None:
    tasks = list(TASK.finditer(row["task"]))
    assert tasks, row["task"]
    for task in tasks:
        known = options_of(task["name"], task["kind"])
        missing = [option for option in re.findall(r"[\w.]+", task["options"] or "") if not has_option(known, option)]
        assert not missing, f"{task['name']} has no option {missing}"
    proofs = list(TEST.finditer(row["test"]))
    assert proofs, row["test"]
    for proof in proofs:
        path = REPOSITORY / proof["path"]
        assert path.exists(), proof["path"]
        if proof["name"]:
            assert f"def {proof['name']}(" in path.read_text(), proof[0]
