# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One volume and its way to what is declared: it is read, what cannot be is refused, then it is changed."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from ..known import known
from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from .errors import NotThere, asking
from .image_source import Digest, opened
from .library import libvirt
from .usage import named
from .volume_download import download, is_there, refuse_place
from .volume_fill import check_image, fill, holds_image, is_blank, refuse_use, unfinished, wanted_capacity
from .volume_store import Pool, Store
from .volume_xml import SPARSE_POOLS, UNFINISHED, Declaration, Volume, is_capacity, new_volume, still
from .xml import remove, shown


class Change:
    """One run for one volume."""

    def __init__(self, store: Store, task: Task, declared: Declaration) -> None:
        self._store, self._task, self._declared = store, task, declared
        self._options = declared.options
        self._pool: Pool = store.pool(declared.pool)
        self._volume: libvirt.virStorageVol | None = self._pool.find(declared.name)
        self._before: Volume | None = self._read()
        self._is_unfinished = self._before is not None and self._pool.mark(declared.name) is not None
        self._actions: list[str] = []
        self._first: Element | None = still(self._before) if self._before is not None else None
        self._after = self._first

    @property
    def _makes(self) -> bool:
        return not self._task.check_mode

    def _read(self) -> Volume | None:
        return self._pool.read(self._volume) if self._volume is not None else None

    def run(self) -> Result:
        {"present": self._present, "absent": self._absent, "wiped": self._wiped}[self._task.params["state"]]()
        return self._result()

    # Present

    def _present(self) -> None:
        declared = self._declared
        if self._is_unfinished and not (declared.has_image or self._options["clone"]):
            raise Failure(
                f"Volume {declared.label} was never finished: {declared.name}{UNFINISHED} is beside it. Run the task"
                " that fills it again, or delete the volume (state: absent)."
            )
        self._refuse_other()
        if declared.has_image:
            self._image()
        elif self._options["clone"] is not None:
            self._clone()
        elif self._before is None:
            self._create()
        self._resize()
        if self._options["dest"] is not None:
            self._download()

    def _refuse_other(self) -> None:
        """Refuse what a volume that is there cannot become."""
        live, options = self._before, self._options
        if live is None or self._is_unfinished:
            return
        wanted = options["format"]
        keeps = not (options["overwrite"] and self._declared.has_image)
        if wanted is not None and live.format != wanted and not (wanted == "raw" and live.format == "iso") and keeps:
            raise Refused(
                f"format: volume {self._declared.label} is {live.format}, and cannot become {wanted}; clone it into"
                " another one (clone)"
            )
        if options["backing"] is not None:
            path, _format = self._backing()
            if live.backing != path:
                raise Refused(
                    f"backing: volume {self._declared.label} has {live.backing or 'no backing file'}, not {path};"
                    " that cannot change"
                )

    def _image(self) -> None:
        live, declared, pool = self._before, self._declared, self._pool
        volume = self._volume
        is_whole = live is not None and volume is not None and not self._is_unfinished
        if is_whole and not self._options["overwrite"] and not is_blank(pool, volume, known(live)):
            # What guests have made of it since is theirs.
            return
        with opened(self._options) as source:
            kept = None if self._is_unfinished else live
            if kept is not None and volume is not None and self._options["overwrite"] and not kept.looks_blank:
                self._refuse_grown(kept, source.image.capacity, source.image.is_raw)
                if holds_image(pool, volume, kept, source):
                    return
            check_image(declared, pool, kept, source)
            if live is not None:
                refuse_use(pool, declared.name, live, "overwrite")
                self._refuse_dependents(live, "overwrite")
            self._actions.append("uploaded")
            if self._makes:
                fill(declared, pool, volume, kept, source, self._task.progress)
            else:
                capacity = wanted_capacity(declared, pool, kept) or source.image.capacity
                self._after = new_volume(declared, pool.type, capacity=capacity, format_=source.image.format)
        self._reread()

    def _refuse_grown(self, live: Volume, capacity: int, is_raw: bool) -> None:
        if not is_raw and self._declared.capacity is not None and self._declared.capacity > capacity:
            raise Refused(
                f"overwrite: volume {self._declared.label} was made larger than its image, which changes a qcow2 file;"
                " the two cannot be compared. Leave overwrite or capacity out"
            )

    def _clone(self) -> None:
        if self._before is not None and not self._is_unfinished:
            return
        declared, options = self._declared, self._options["clone"]
        pool = self._store.pool(options["pool"] or declared.pool)
        source = pool.find(options["volume"])
        if source is None:
            raise NotThere(f"There is no volume {pool.name}/{options['volume']} to clone.")
        if pool.mark(options["volume"]) is not None:
            raise Failure(f"Volume {pool.name}/{options['volume']} was never finished; it cannot be cloned.")
        original = pool.read(source)
        if declared.capacity is not None and declared.capacity < original.capacity:
            raise Refused(
                f"capacity: {declared.label} is to be smaller ({declared.capacity} bytes) than what it is cloned from"
                f" ({original.capacity})"
            )
        refuse_use(pool, options["volume"], original, "clone", reads=True)
        format_ = original.format if self._pool.type in SPARSE_POOLS else None
        document = new_volume(declared, self._pool.type, capacity=original.capacity, format_=format_)
        self._actions.append("cloned")
        if not self._makes:
            self._after = document
            return
        with unfinished(self._pool, declared.name, forget=True):
            if self._volume is not None:
                self._pool.delete(self._volume)
            self._pool.clone(document, source)
        self._reread()

    def _create(self) -> None:
        backing = self._backing() if self._options["backing"] is not None else None
        document = new_volume(self._declared, self._pool.type, capacity=self._declared.capacity, backing=backing)
        self._refuse_space()
        self._actions.append("created")
        if not self._makes:
            self._after = document
            return
        flags = libvirt.VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA if self._options["preallocate_metadata"] else 0
        self._pool.make(document, flags)
        self._reread()

    def _refuse_space(self) -> None:
        needed = self._declared.allocation or 0
        if needed > self._pool.available:
            raise Refused(
                f"allocation: pool {self._pool.name} has {self._pool.available} bytes left, {needed} are wanted"
            )

    def _backing(self) -> tuple[str, str]:
        """Path and format of the backing file."""
        options = self._options["backing"]
        if options["path"] is not None:
            return options["path"], options["format"] or "raw"
        pool = self._store.pool(options["pool"] or self._declared.pool)
        volume = pool.find(options["volume"])
        if volume is None:
            raise NotThere(f"There is no volume {pool.name}/{options['volume']} to build on.")
        live = pool.read(volume)
        return live.path, options["format"] or live.format or "raw"

    def _resize(self) -> None:
        declared, live = self._declared, self._before
        wanted = declared.capacity
        if live is None or wanted is None or (self._actions and not self._makes):
            return
        if is_capacity(wanted, live.capacity, live.format, self._pool.type):
            return
        if wanted < live.capacity and not self._options["shrink"]:
            raise Refused(
                f"capacity: volume {declared.label} has {live.capacity} bytes, more than {wanted}. shrink: true cuts"
                " it, and what lies behind the cut is lost"
            )
        refuse_use(self._pool, declared.name, live, "resize")
        shrinks = wanted < live.capacity
        if shrinks:
            self._refuse_dependents(live, "shrink")
        if "cloned" not in self._actions:
            self._actions.append("shrunk" if shrinks else "grown")
        if not self._makes:
            self._after = still(live)
            known(self._after.find("capacity")).text = str(wanted)
            return
        with asking(f"resize volume {declared.label}"):
            known(self._volume).resize(wanted, libvirt.VIR_STORAGE_VOL_RESIZE_SHRINK if shrinks else 0)
        self._reread()

    def _download(self) -> None:
        path, pool = self._options["dest"], self._pool
        volume, live = self._volume, self._before
        if volume is None or live is None:
            # Only check mode comes here with a volume that it would have made.
            self._actions.append("downloaded")
            return
        digest = Digest(None if self._declared.has_image else self._options["checksum"])
        if is_there(path, digest, pool, volume, compare=self._options["overwrite"]):
            return
        refuse_place(path, live)
        refuse_use(pool, self._declared.name, live, "download", reads=True)
        self._actions.append("downloaded")
        if self._makes:
            download(path, digest, pool, volume, live, self._task.progress)

    # Absent and wiped

    def _absent(self) -> None:
        live = self._before
        if live is None:
            return
        name, pool = self._declared.name, self._pool
        refuse_use(pool, name, live, "delete")
        self._refuse_dependents(live, "delete")
        off = [use for use in pool.uses(live, name, held_only=False) if not use.running]
        if off:
            self._task.warn(
                f"Volume {self._declared.label} is a disk of {named(off)}, which will not start without it."
            )
        self._actions.append("deleted")
        if self._makes:
            pool.delete(known(self._volume))
            pool.unmark(name)
        self._volume = self._before = self._after = None

    def _refuse_dependents(self, live: Volume, verb: str) -> None:
        others = self._pool.built_on(live)
        if others and not self._task.params["force"]:
            raise Failure(
                f"Cannot {verb} volume {self._declared.label}: {', '.join(others)}, built on it, would be lost as well."
                " force: true does it all the same.",
                built_on=others,
            )

    def _wiped(self) -> None:
        live = self._before
        if live is None:
            raise NotThere(f"There is no volume {self._declared.label} to wipe.")
        refuse_use(self._pool, self._declared.name, live, "wipe")
        self._refuse_dependents(live, "wipe")
        self._actions.append("wiped")
        if not self._makes:
            return
        algorithm = self._task.params["wipe_algorithm"]
        number = getattr(libvirt, f"VIR_STORAGE_VOL_WIPE_ALG_{algorithm.upper()}")
        with asking(f"wipe volume {self._declared.label} ({algorithm})"):
            known(self._volume).wipePattern(number, 0)
        if live.is_file and live.format != "raw":
            self._anew(live)
        self._reread()

    def _anew(self, live: Volume) -> None:
        """A blank volume in place of one whose format was wiped away with the rest."""
        document = still(live)
        for path in ("key", "target/path", "backingStore"):
            remove(document, path)
        self._pool.delete(known(self._volume))
        self._pool.make(document)

    # Results

    def _reread(self) -> None:
        if not self._makes:
            return
        self._volume = self._pool.host.volume(self._pool.pool, self._declared.name)
        self._before = self._read()
        self._after = still(self._before) if self._before is not None else None

    def _result(self) -> Result:
        volume = self._before
        told: dict[str, Any] = {
            "name": self._declared.name,
            "pool": self._declared.pool,
            "path": volume.path if volume is not None else None,
            "format": volume.format if volume is not None else None,
            "capacity": volume.capacity if volume is not None else None,
            "allocation": volume.allocation if volume is not None else None,
            "backing": volume.backing if volume is not None else None,
            "actions": self._actions,
            "changed": bool(self._actions),
        }
        return {
            "changed": bool(self._actions),
            "volume": told,
            "diff": {"before": shown(self._first), "after": shown(self._after)},
        }
