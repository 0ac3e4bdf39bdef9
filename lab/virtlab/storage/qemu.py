"""qemu-img for images that are not raw: what they are, and raw files made of them. Nothing outside of them is read."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from virtlab.storage.problems import Cancelled, DataProblem, NoCapacity

INFO_SECONDS = 30.0
MEMORY = 2 << 30  # bytes of address space: images come from anybody
PROGRESS = re.compile(rb"\((\d+\.\d+)/100%\)")
MISSING = "qemu-img is not installed on the machine of the lab; raw, gz and xz images need none"
LEAKS, NOTHING_TO_CHECK = 3, 63  # exit statuses of qemu-img check that are no problem
SHOWN = "/scratch/tmpimage"  # the name under which CDI tells of an image


def available() -> bool:
    return shutil.which("qemu-img") is not None


def info(path: Path, format: str) -> dict[str, Any]:
    """What qemu-img tells of an image of that format. Raises DataProblem."""
    code, output, errors = _asked("info", path, format)
    if code:
        raise DataProblem(f"qemu-img: Could not open '{SHOWN}': {errors}: exit status 1")
    found: dict[str, Any] = json.loads(output)
    return found


def check_whole(path: Path, format: str) -> None:
    """Raises DataProblem for an image that was cut off: qemu-img itself would read zeros past its end.

    This is stricter than CDI, which makes a disk of what is there.
    """
    code, output, errors = _asked("check", path, format)
    if code in (0, LEAKS, NOTHING_TO_CHECK):
        return
    try:
        corruptions = json.loads(output).get("corruptions", 0)
    except ValueError:
        corruptions = 0
    why = f"{corruptions} corruptions" if corruptions else errors.splitlines()[0]
    raise DataProblem(f"Image {SHOWN} is invalid because it is truncated or damaged: {why}")


def _asked(verb: str, path: Path, format: str) -> tuple[int, bytes, str]:
    """Exit status, output, and complaints of qemu-img. Raises DataProblem where it cannot be asked."""
    if not available():
        raise DataProblem(MISSING)
    command = ["qemu-img", verb, "-f", format, "--output=json", str(path)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        _limit(process, INFO_SECONDS)
        try:
            output, errors = process.communicate(timeout=INFO_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise DataProblem(f"qemu-img {verb} timed out after {INFO_SECONDS:g}s for image {SHOWN}") from None
    return process.returncode, output, _said(errors, path)


def validate(path: Path, format: str, available_bytes: int) -> int:
    """The virtual size of an image that may be converted. Raises DataProblem as CDI's validation does."""
    found = info(path, format)
    details = (found.get("format-specific") or {}).get("data") or {}
    backing = found.get("full-backing-filename") or found.get("backing-filename")
    foreign = [item["filename"] for item in details.get("extents") or () if item.get("filename") != str(path)]
    outside = backing or details.get("data-file") or (foreign[0] if foreign else None)
    if outside:  # CDI follows one that is there; here that would read this machine's own files
        raise DataProblem(f"Image {SHOWN} is invalid because it has invalid backing file {outside}")
    size = int(found["virtual-size"])
    if size > available_bytes:
        raise too_large(size, available_bytes)
    return size


def too_large(size: int, available_bytes: int) -> NoCapacity:
    return NoCapacity(
        f"virtual image size {size} is larger than the reported available storage {available_bytes}. "
        "A larger PVC is required"
    )


def convert(source: Path, format: str, target: Path, progress: Callable[[float], None]) -> None:
    """A raw file of an image; C(progress) is told the fraction done and may raise Cancelled. Raises DataProblem."""
    if not available():
        raise DataProblem(MISSING)
    command = ["qemu-img", "convert", "-t", "writeback", "-p", "-f", format, "-O", "raw", str(source), str(target)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        _limit(process)
        assert process.stdout is not None and process.stderr is not None
        try:
            while said := process.stdout.read(4096):
                if found := PROGRESS.findall(said):
                    progress(float(found[-1]) / 100)
        except Cancelled:
            process.kill()
            process.wait()
            target.unlink(missing_ok=True)
            raise
        errors = process.stderr.read()
    if process.returncode:
        target.unlink(missing_ok=True)
        text = f"Conversion to Raw failed: could not convert image to raw: {_said(errors, source)}: exit status 1"
        raise NoCapacity(text) if b"No space left" in errors else DataProblem(text)


def _said(errors: bytes, path: Path) -> str:
    """What qemu-img complains of, without paths of this machine."""
    text = errors.decode("utf-8", "replace").strip().replace(str(path), SHOWN)
    return text.removeprefix("qemu-img: ").removeprefix(f"Could not open '{SHOWN}': ") or "unknown error"


def _limit(process: subprocess.Popen[bytes], seconds: float | None = None) -> None:
    try:
        resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY, MEMORY))
        if seconds is not None:
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    except (ProcessLookupError, PermissionError):
        return  # it is over already
