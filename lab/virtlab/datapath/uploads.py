"""What the upload servers of claims are doing: written by the upload proxy, read by the controllers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Key = tuple[str, str]


@dataclass
class Upload:
    """The upload server of one claim. C(problem): why processing failed after the client was told of success."""

    key: Key  # namespace and name of the claim
    uploading: bool = False
    processing: bool = False
    done: bool = False
    problem: str = ""
    restarts: int = 0
    cancelled: bool = False


class Uploads:
    """By the claim's uid. C(listen) is called with the claim's namespace and name when something is over."""

    def __init__(self) -> None:
        self._uploads: dict[str, Upload] = {}
        self.listen: Callable[[Key], None] = lambda key: None

    def of(self, uid: str, key: Key) -> Upload:
        return self._uploads.setdefault(uid, Upload(key))

    def find(self, uid: str) -> Upload | None:
        return self._uploads.get(uid)

    def finished(self, upload: Upload, problem: str = "") -> None:
        """An upload server ended: well, or with a problem after which it starts again."""
        upload.processing = False
        upload.done = not problem
        if problem:
            upload.problem = problem
            upload.restarts += 1
        self.listen(upload.key)

    def forget(self, uid: str) -> None:
        """The claim is gone: what is uploaded to it now is of no use."""
        upload = self._uploads.pop(uid, None)
        if upload is not None:
            upload.cancelled = True
