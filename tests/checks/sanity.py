"""ansible-test sanity on the collection. Usage: sanity.py WORK_DIRECTORY"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import checkout

# ansible-test downloads a script that installs pip into its environments. Python carries a pip that can do the same.
BOOTSTRAP = '''\
"""Install the pip that is asked for with the one that Python itself carries."""
import subprocess
import sys

wanted = [argument for argument in sys.argv[1:] if not argument.startswith("--no-")]
subprocess.run([sys.executable, "-m", "ensurepip", "--upgrade"], check=True, stdout=subprocess.DEVNULL)
subprocess.run([sys.executable, "-m", "pip", "install", *wanted], check=True)
'''
PIP_VERSIONS = ("21_3_1", "24_2", "25_0_1", "25_1_1", "25_2", "25_3")


def home(work: Path) -> Path:
    """A home directory whose ansible-test needs no download of its own; pip's settings are the user's."""
    place = work / "home"
    cache = place / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in PIP_VERSIONS:
        (cache / f"get_pip_{version}.py").write_text(BOOTSTRAP)
    for settings in (".config/pip", ".pip"):
        theirs = Path.home() / settings
        ours = place / settings
        if theirs.is_dir() and not ours.exists():
            ours.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(theirs, ours)
    return place


def main() -> int:
    work = Path(sys.argv[1])
    place = checkout.copy(work)
    environment = dict(os.environ, HOME=str(home(work)), PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    environment.pop("PYTHONPATH", None)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [Path(sys.executable).with_name("ansible-test"), "sanity", "--python", version, "--requirements"]
    result = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).splitlines()
    told = [line for line in lines if result.returncode or line.startswith("Running sanity test")]
    print("\n".join(told))
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
