"""The plugin documentation is right and builds as a site without warnings. Usage: documentation.py WORK_DIRECTORY"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import checkout

CONFIGURATION = """\
project = "virtstack.core"
extensions = ["sphinx.ext.autodoc", "sphinx_antsibull_ext"]
html_theme = "sphinx_ansible_theme"
suppress_warnings = ["ref.*"]
"""


def main() -> int:
    work = Path(sys.argv[1])
    place = checkout.copy(work)
    binaries = Path(sys.executable).parent
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(work), PATH=f"{binaries}:{os.environ['PATH']}")
    environment.pop("PYTHONPATH", None)

    def run(*command: str | Path) -> bool:
        return subprocess.run(command, cwd=place, env=environment, check=False).returncode == 0

    site = work / "site"
    shutil.rmtree(site, ignore_errors=True)
    sources = site / "rst"
    sources.mkdir(parents=True, mode=0o755)
    (sources / "conf.py").write_text(CONFIGURATION)
    antsibull = binaries / "antsibull-docs"
    steps = (
        (antsibull, "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "--validate-collection-refs=self", "."),
        (
            antsibull,
            "collection",
            "--use-current",
            "--squash-hierarchy",
            "--fail-on-error",
            "--dest-dir",
            sources,
            "virtstack.core",
        ),
        (binaries / "sphinx-build", "-q", "-W", "--keep-going", "-b", "html", sources, site / "html"),
    )
    return 0 if all(run(*step) for step in steps) else 1


if __name__ == "__main__":
    sys.exit(main())
