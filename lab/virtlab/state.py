"""The directory that holds one lab: its keys, its database, its kubeconfig, and who runs it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import yaml

from virtlab.certificates import Authority, write_private


def default_directory() -> Path:
    """VIRTLAB_HOME, or virtlab below XDG_STATE_HOME (~/.local/state)."""
    if home := os.environ.get("VIRTLAB_HOME"):
        return Path(home).expanduser()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "virtlab"


class StateError(Exception):
    """A directory that cannot hold a lab; the text says why and what to do."""


@dataclass
class Settings:
    """What a lab keeps over a restart. A port of 0: not chosen yet."""

    port: int = 0
    upload_port: int = 0
    export_port: int = 0
    time_factor: float = 1.0
    seed: int | None = None
    guests: str = "simulated"


class State:
    """The files of one lab."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.database = self.directory / "objects.sqlite"
        self.kubeconfig = self.directory / "kubeconfig"
        self.log = self.directory / "server.log"
        self.storage = self.directory / "storage"
        self.guests = self.directory / "guests"
        self.hosts = self.directory / "hosts"
        self._settings_file = self.directory / "settings.json"
        self._lock_file = self.directory / "server.lock"

    def prepare(self) -> None:
        """Make the directory, for its owner alone; raises StateError where it cannot be, or is somebody else's."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if any(self.directory.iterdir()) and not self._settings_file.exists():
                raise StateError(f"{self.directory} holds other files and no lab; choose another --state-dir")
            self.directory.chmod(0o700)
            if not self._settings_file.exists():
                self.settings = Settings()
        except OSError as error:
            raise StateError(f"{self.directory} cannot hold a lab: {error.strerror}") from None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Of several processes that start or reset the lab at once, one at a time."""
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    @property
    def authority(self) -> Authority:
        return Authority(self.directory)

    @property
    def settings(self) -> Settings:
        if not self._settings_file.exists():
            return Settings()
        try:
            return Settings(**json.loads(self._settings_file.read_text()))
        except (TypeError, ValueError) as error:
            raise StateError(f"{self._settings_file} is damaged: {error}") from None

    @settings.setter
    def settings(self, value: Settings) -> None:
        write_private(self._settings_file, json.dumps(asdict(value)).encode())

    def secret(self, name: str, make: str | None = None) -> str:
        """A kept secret; made, random or C(make), the first time."""
        path = self.directory / name
        if not path.exists():
            write_private(path, (make or secrets.token_urlsafe(32)).encode())
        return path.read_text()

    @property
    def admin_token(self) -> str:
        return self.secret("admin.token")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.settings.port}"

    def write_kubeconfig(self) -> None:
        authority = base64.b64encode(self.authority.pem.encode()).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "virtlab", "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "users": [{"name": "admin", "user": {"token": self.admin_token}}],
            "contexts": [
                {"name": "virtlab", "context": {"cluster": "virtlab", "user": "admin", "namespace": "default"}}
            ],
            "current-context": "virtlab",
        }
        write_private(self.kubeconfig, yaml.safe_dump(config, sort_keys=False).encode())

    # Who runs it: the server holds a lock on a file that names its process

    def claim(self) -> None:
        """Lock the lab for this process until it ends; raises BlockingIOError when another one runs it."""
        lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)  # open until the process ends
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())

    def pid(self) -> int | None:
        """The running server's process, None when there is none."""
        with contextlib.suppress(FileNotFoundError), open(self._lock_file) as file:
            if _locked(file):
                text = file.read().strip()
                return int(text) if text else None
        return None

    def wait_stopped(self, seconds: float) -> bool:
        """Whether the server was gone within C(seconds)."""
        until = time.monotonic() + seconds
        with contextlib.suppress(FileNotFoundError), open(self._lock_file) as file:
            while _locked(file):
                if time.monotonic() > until:
                    return False
                time.sleep(0.02)
        return True


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
