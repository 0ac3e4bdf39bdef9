"""A tar archive that comes in as a stream becomes the files of a volume."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable

from virtlab.storage.problems import DataProblem
from virtlab.storage.receive import Receiver, Target

UNTAR = "unable to untar files from endpoint"


class ArchiveReceiver(Receiver):
    """Unpacks what a C(Receiver) kept of the stream; the archive is checked whole before a file is put in place."""

    def __init__(self, target: Target, tag: str) -> None:
        self._volume = target.path.parent
        archive = target.path.with_name(f".{target.path.name}.{tag}.tar")
        super().__init__(Target(archive, 0, target.available), tag=tag, raw_only=True)
        self._files = target.path.with_name(f".{target.path.name}.{tag}.files")

    @property
    def place(self) -> str:
        return "Unable to transfer source data to target directory"

    def finish(self, progress: Callable[[float], None] = lambda fraction: None) -> None:
        super().finish(progress)
        archive = self.target.path
        try:
            if not hasattr(tarfile, "data_filter"):
                raise DataProblem(f"{self.place}: {UNTAR}: this Python cannot keep an archive within its directory")
            self._files.mkdir(exist_ok=True)
            with tarfile.open(archive) as tar:
                tar.extractall(self._files, filter="data")
            for item in self._files.iterdir():
                place = self._volume / item.name
                if place.is_dir():
                    shutil.rmtree(place)
                item.rename(place)
        except (tarfile.TarError, OSError) as error:
            raise DataProblem(f"{self.place}: {UNTAR}: {error}") from None
        finally:
            archive.unlink(missing_ok=True)
            shutil.rmtree(self._files, ignore_errors=True)
