"""Runs tasks in the controller's process and as modules of their own, so that the results can be compared."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible_collections.virtstack.core
import yaml

COLLECTIONS = str(Path(ansible_collections.virtstack.core.__path__[0]).parents[2])
_VARYING = re.compile(r'("(?:uid|resourceVersion|creationTimestamp|deletionTimestamp|lastTransitionTime)": )"[^"]*"')


_runs = itertools.count(1)


@dataclass(frozen=True)
class BothWays:
    """Tasks are run by ansible-playbook on localhost. C({{ way }}) in them names each run, WAY in the results."""

    directory: Path
    kubeconfig: str

    def run(self, *tasks: dict[str, Any], check: bool = False) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The registered results of the tasks, run directly and run as modules, without what always varies."""
        return self.direct(*tasks, check=check), self.as_modules(*tasks, check=check)

    def direct(self, *tasks: dict[str, Any], check: bool = False) -> list[dict[str, Any]]:
        return self._play("direct", {}, tasks, check)

    def as_modules(self, *tasks: dict[str, Any], check: bool = False) -> list[dict[str, Any]]:
        # Another path to the same Python counts as another interpreter.
        interpreter = self.directory / "python"
        interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        interpreter.chmod(0o755)
        return self._play("module", {"ansible_python_interpreter": str(interpreter)}, tasks, check)

    def _play(
        self, way: str, variables: dict[str, str], tasks: tuple[dict[str, Any], ...], check: bool
    ) -> list[dict[str, Any]]:
        way = f"{way}-{next(_runs)}"
        results = self.directory / f"{way}.json"
        names = [f"result_{number}" for number in range(len(tasks))]
        copy = {"content": f"{{{{ [{', '.join(names)}] | to_json }}}}", "dest": str(results), "mode": "0600"}
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {"way": way, **variables},
            "module_defaults": {"group/virtstack.core.cluster": {"kubeconfig": self.kubeconfig}},
            "tasks": [
                *({"register": name, "ignore_errors": True, **task} for name, task in zip(names, tasks, strict=True)),
                {
                    "ansible.builtin.copy": copy,
                    "check_mode": False,
                    "diff": False,
                    "vars": {"ansible_python_interpreter": sys.executable},
                },
            ],
        }
        playbook = self.directory / f"{way}.yml"
        playbook.write_text(yaml.safe_dump([play]))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", "--diff"]
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS, "ANSIBLE_HOME": str(self.directory)}
        done = subprocess.run(
            [*command, *(["--check"] if check else []), str(playbook)],
            capture_output=True,
            check=False,
            text=True,
            timeout=180,
            env=environment,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        text = _VARYING.sub(r'\1"VARIES"', results.read_text()).replace(way, "WAY")
        found: list[dict[str, Any]] = json.loads(text)
        return found
