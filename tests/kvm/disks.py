"""Disks of the tests with a pattern in them, and what a guest writes to them itself."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from virtlab.hosts.host import Host

PATTERN = ("-P", "0xa5", "0", "24M")
# Where guests write their words: behind the pattern.
WORDS = 32 * 1024**2


def make_disk(path: Path, size: str = "48M") -> None:
    """A disk whose first half holds a pattern."""
    for command in (
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=1.1", str(path), size],
        ["qemu-io", "-c", f"write {' '.join(PATTERN)}", str(path)],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=60)


def assert_whole(path: Path) -> None:
    """The disk has its pattern, and its format is sound."""
    for command in (
        ["qemu-io", "-r", "-U", "-c", f"read {' '.join(PATTERN)}", str(path)],
        ["qemu-img", "check", "-U", "-q", str(path)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        said = done.stdout + done.stderr
        # 3: space that is counted as used while QEMU has not yet written that it is not.
        assert done.returncode in (0, 3) and "Pattern verification failed" not in said, said


def ask(domain: Any, command: str, **arguments: Any) -> Any:
    """What the guest's agent answers."""
    import libvirt_qemu

    asked = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(libvirt_qemu.qemuAgentCommand(domain, asked, 30, 0))["return"]


def run(domain: Any, script: str) -> str:
    """What a shell script prints in the guest."""
    started = ask(domain, "guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})
    until = time.monotonic() + 60
    while not (done := ask(domain, "guest-exec-status", pid=started["pid"]))["exited"]:
        assert time.monotonic() < until, script
        time.sleep(0.02)
    said = base64.b64decode(done.get("out-data", "")).decode()
    assert done["exitcode"] == 0, (script, said, base64.b64decode(done.get("err-data", "")).decode())
    return said


def write_word(domain: Any, word: str, device: str = "/dev/vda") -> None:
    """Let the guest write eight letters to its disk."""
    assert len(word) == 8
    run(domain, f"printf {word} | dd of={device} bs=8 seek={WORDS // 8} conv=notrunc,fsync 2>/dev/null")


def read_word(domain: Any, device: str = "/dev/vda") -> str:
    """What the guest has written there, past its cache."""
    script = f"echo 3 >/proc/sys/vm/drop_caches; dd if={device} bs=8 skip={WORDS // 8} count=1 2>/dev/null"
    return run(domain, script)


def assert_pattern(domain: Any, device: str = "/dev/vda") -> None:
    """The guest reads the pattern from its disk, past its cache."""
    script = f"echo 3 >/proc/sys/vm/drop_caches; dd if={device} bs=1M count=24 2>/dev/null | md5sum"
    assert run(domain, script).split()[0] == hashlib.md5(b"\xa5" * 24 * 1024**2).hexdigest()


def word_in(path: Path) -> str:
    """The word in an image, with all of its layers."""
    command = ["qemu-io", "-r", "-U", "-c", f"read -v {WORDS} 8", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()[0].split()[-1]


@contextmanager
def slow_directory(host: Host) -> Iterator[Path]:
    """A directory among the images of a host in which writing takes its time, for what is to be cut off."""
    place, inside = host.images / "slow", "/var/lib/libvirt/images/slow"
    place.mkdir(exist_ok=True)
    done = host.exec(["bindfs", "--write-rate=12M", inside, inside])
    if done.returncode:
        pytest.skip(f"no directory can be slow here: {done.stderr.strip()}")
    yield place
    if host.running:
        host.exec(["umount", "--lazy", inside])


def wait_until_written(directory: Path, pattern: str) -> None:
    """Until a file of the name has a MiB or more."""
    until = time.monotonic() + 90
    while not any(path.stat().st_size > 1024**2 for path in directory.glob(pattern)):
        assert time.monotonic() < until, f"nothing is written to {directory}/{pattern}"
        time.sleep(0.02)
