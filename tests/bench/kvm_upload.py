"""A volume that is filled from a file, beside a plain stream of the same file through libvirt."""

from __future__ import annotations

import filecmp
import os
import time
from pathlib import Path

from figures import Figure, Report
from kvm_stage import KvmStage
from programs import hot_spots

TASK = "the image is there"
RATIO = 1 / 0.8
PIECE = 1 << 20


def bench(stage: KvmStage, quick: bool) -> Report:
    mebibytes = 16 if quick else 1024
    source = stage.work / "image.raw"
    with source.open("wb") as file:
        for _number in range(mebibytes):
            file.write(os.urandom(PIECE))
    report = Report(f"KVM: {mebibytes} MiB into a volume", ["what", "time", "MiB/s"])
    # Before and after, since others may share the machine.
    before = plain_stream(stage, source, "before")
    task = {
        "name": TASK,
        "virtstack.core.kvm_volume": {"name": "image", "pool": "default", "uri": stage.uri, "src": str(source)},
    }
    times, _whole = stage.play("upload", task)
    ours = times[TASK].seconds
    after = plain_stream(stage, source, "after")
    rows = {"kvm_volume": ours, "a plain stream, before": before, "a plain stream, after": after}
    for what, seconds in rows.items():
        report.rows.append([what, f"{seconds:.2f} s", f"{mebibytes / seconds:.0f}"])
    with stage.opened() as host:
        volume = host.storagePoolLookupByName("default").storageVolLookupByName("image")
        if not filecmp.cmp(volume.path(), source, shallow=False):
            report.notes.append("what arrived is not what was sent")
    plain = (before + after) / 2
    report.figures.append(Figure("task time, of the plain stream's", ours / plain, RATIO))
    if report.short:
        profile = stage.work / "upload.prof"
        task["virtstack.core.kvm_volume"] |= {"name": "profiled"}  # type: ignore[operator]
        stage.play("profiled", task, profile=profile)
        report.profile = hot_spots(profile)
    return report


def plain_stream(stage: KvmStage, source: Path, name: str) -> float:
    """Seconds that it takes to make a volume and send a file to it, with nothing else."""
    size = source.stat().st_size
    with stage.opened() as host, source.open("rb") as file:
        start = time.perf_counter()
        pool = host.storagePoolLookupByName("default")
        target = "<target><format type='raw'/></target>"
        volume = pool.createXML(f"<volume><name>{name}</name><capacity>{size}</capacity>{target}</volume>")
        stream = host.newStream()
        volume.upload(stream, 0, size)
        stream.sendAll(lambda _stream, count, handle: handle.read(count), file)
        stream.finish()
        seconds = time.perf_counter() - start
        volume.delete()
    return seconds
