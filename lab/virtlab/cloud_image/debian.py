"""A Debian in a directory, of the release that this machine runs, from the mirrors that it has its own from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from virtlab.tiny.packages import ImageError, run

LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")


def codename() -> str:
    """The release that this machine runs. Raises ImageError where that is no Debian."""
    told = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines())
    if told.get("ID") != "debian" or "VERSION_CODENAME" not in told:
        raise ImageError("it is made of the packages of the Debian that this machine would have to run")
    return told["VERSION_CODENAME"].strip('"')


def sources() -> str:
    """The mirrors, as lines of a sources.list. Raises ImageError where none is known."""
    listed = run(
        "apt-get", "indextargets", "--format", "$(ORIGIN) deb $(REPO_URI) $(RELEASE) main", "Created-By: Packages"
    )
    lines = {line.removeprefix("Debian ") for line in listed.splitlines() if line.startswith("Debian deb ")}
    if not lines:
        raise ImageError("apt-get indextargets names no mirror of Debian: run apt-get update")
    return "\n".join(sorted(lines)) + "\n"


def unpack(root: Path, listed: Path, packages: Sequence[str], *options: str) -> None:
    """Make the directory C(root) with these packages and those that every Debian has. Raises ImageError.

    C(listed) is a sources.list, which the new system keeps as its own; C(options) are more of mmdebstrap's.
    """
    run(
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--aptopt=APT::Install-Recommends false",
        "--aptopt=Acquire::Languages none",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        f"--include={','.join(packages)}",
        *options,
        codename(),
        root,
        listed,
    )
