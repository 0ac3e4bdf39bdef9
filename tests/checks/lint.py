"""ansible-lint, profile production, on the collection. Usage: lint.py WORK_DIRECTORY"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import checkout


def main() -> int:
    work = Path(sys.argv[1])
    place = checkout.copy(work)
    # ansible-lint asks git which files there are.
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    subprocess.run(["git", "add", "--all"], cwd=place, check=True)
    environment = dict(
        os.environ,
        ANSIBLE_COLLECTIONS_PATH=str(work),
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )
    command = [Path(sys.executable).with_name("ansible-lint"), "--offline", "--profile", "production", "--strict"]
    return subprocess.run(command, cwd=place, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
