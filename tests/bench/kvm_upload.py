"""A volume that is filled from a file, beside a plain stream of the same file through libvirt."""

from __future__ import annotations

import filecmp
import os
import time
from pathlib import Path
from typing import Any

from figures import Report, compared, speeds
from kvm_stage import KvmStage
from programs import hot_spots, in_turns

TASK = "the image is there"
OURS, PLAIN, GROWING = "kvm_volume", "a plain stream", "a plain stream, into a volume without its room"
RATIO = 1 / 0.8
PIECE = 1 << 20
TIMES = 5


def bench(stage: KvmStage, quick: bool) -> Report:
    mebibytes = 16 if quick else 1024
    source = stage.work / "image.raw"
    with source.open("wb") as file:
        for _number in range(mebibytes):
            file.write(os.urandom(PIECE))
    report = Report(f"KVM: {mebibytes} MiB into a volume", ["what", "best", "in the middle", "MiB/s"])

    def ours() -> float:
        times, _whole = stage.play("upload", uploading(stage, source, "image"))
        with stage.opened() as host:
            volume = host.storagePoolLookupByName("default").storageVolLookupByName("image")
            if not filecmp.cmp(volume.path(), source, shallow=False):
                report.notes.append("what arrived is not what was sent")
            volume.delete()
        return times[TASK].seconds

    ways = {
        PLAIN: lambda: plain_stream(stage, source, has_room=True),
        OURS: ours,
        GROWING: lambda: plain_stream(stage, source, has_room=False),
    }
    found = in_turns(ways, quick, TIMES)
    report.rows += [speeds(what, seconds, mebibytes) for what, seconds in found.items()]
    report.figures += compared("task time, of the plain stream's", found[OURS], found[PLAIN], RATIO)
    report.notes.append(
        "in turns, after a sync each. libvirt gives a volume all of its room when it is made, unless told otherwise"
    )
    if report.short:
        profile = stage.work / "upload.prof"
        stage.play("profiled", uploading(stage, source, "profiled"), profile=profile)
        report.profile = hot_spots(profile)
    return report


def uploading(stage: KvmStage, source: Path, name: str) -> dict[str, Any]:
    options = {"name": name, "pool": "default", "uri": stage.uri, "src": str(source)}
    return {"name": TASK, "virtstack.core.kvm_volume": options}


def plain_stream(stage: KvmStage, source: Path, *, has_room: bool) -> float:
    """Seconds that it takes to make a volume and send a file to it, with nothing else."""
    size = source.stat().st_size
    with stage.opened() as host, source.open("rb") as file:
        start = time.perf_counter()
        pool = host.storagePoolLookupByName("default")
        room = "" if has_room else "<allocation>0</allocation>"
        volume = pool.createXML(
            f"<volume><name>plain</name><capacity>{size}</capacity>{room}<target><format type='raw'/></target></volume>"
        )
        stream = host.newStream()
        volume.upload(stream, 0, size)
        stream.sendAll(lambda _stream, count, handle: handle.read(count), file)
        stream.finish()
        seconds = time.perf_counter() - start
        volume.delete()
    return seconds
