"""Modules run in the controller's process and as modules of their own, and their results beside what is documented."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from playing import REPOSITORY, Played

Options = dict[str, Any]
Calls = list[tuple[str, Options]]
# Runs a playbook with more arguments.
Play = Callable[..., Played]
# What every module may return.
OF_ANSIBLE = ("changed", "failed", "msg", "diff", "warnings", "deprecations")


def results(play: Play, place: Path, calls: Calls, *arguments: str) -> list[Options]:
    """The results of the calls, the module's own way for those that name an interpreter."""
    tasks: list[Options] = [
        {
            f"virtstack.core.{module}": {key: value for key, value in options.items() if key != "interpreter"},
            "register": f"result_{number}",
            "ignore_errors": True,
            "vars": {"ansible_python_interpreter": options["interpreter"]} if "interpreter" in options else {},
        }
        for number, (module, options) in enumerate(calls)
    ]
    written = place / "results.json"
    names = ", ".join(f"result_{number}" for number in range(len(calls)))
    content = {"dest": str(written), "content": "{{ [" + names + "] | to_json }}", "mode": "0600"}
    tasks.append({"ansible.builtin.copy": content, "check_mode": False, "diff": False})
    playbook = place / "calls.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    played = play(playbook, *arguments)
    assert played.returncode == 0, played.output
    found: list[Options] = json.loads(written.read_text())
    return found


def essence(result: Options) -> Options:
    """Without what belongs to the way itself, and to the moment."""
    left_out = ("invocation", "ansible_facts", "exception")
    return {key: value for key, value in result.items() if key not in left_out}


def returned(module: str) -> Options:
    """What the documentation says that a module returns."""
    source = (REPOSITORY / "plugins" / "modules" / f"{module}.py").read_text()
    match = re.search(r'^RETURN = r?"""(.*?)^"""', source, re.MULTILINE | re.DOTALL)
    assert match, f"{module} documents nothing that it returns"
    values: Options = yaml.safe_load(match[1])
    return values


def undocumented(result: Options, documented: Options) -> Iterator[str]:
    """The names of values that are not in the documentation, those inside of others included."""
    for name, value in result.items():
        if name not in documented:
            if name not in OF_ANSIBLE:
                yield name
            continue
        contained = documented[name].get("contains")
        for item in value if contained and isinstance(value, list) else ():
            yield from (f"{name}.{inner}" for inner in undocumented(item, contained))


@pytest.fixture
def interpreter(tmp_path: Path) -> str:
    """This Python under another name, so that it is another interpreter that is asked for."""
    script = tmp_path / "python-of-its-own"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def assert_same(play: Play, place: Path, calls: Calls, interpreter: str, *arguments: str) -> None:
    """Run each call both ways: the results are the same, and what the documentation says is there."""
    forked = [(module, {**options, "interpreter": interpreter}) for module, options in calls]
    together = [call for pair in zip(calls, forked, strict=True) for call in pair]
    found = results(play, place, together, *arguments)
    for (module, options), direct, own in zip(calls, found[::2], found[1::2], strict=True):
        assert essence(direct) == essence(own), (module, options)
        assert list(undocumented(essence(direct), returned(module))) == [], (module, options)
        if not direct.get("failed"):
            always = {name for name, value in returned(module).items() if value["returned"] in ("always", "success")}
            assert always <= direct.keys(), (module, options)
