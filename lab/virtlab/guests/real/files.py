"""The files of a guest: what its volumes are, its seed for cloud-init, its console's log."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from virtlab.guests.real.devices import DiskFile
from virtlab.resource import Object
from virtlab.schema.quantity import parse
from virtlab.storage.disks import DISK
from virtlab.storage.problems import DataProblem
from virtlab.tiny.packages import ImageError, run

LABELS = {"cloudInitNoCloud": "cidata", "cloudInitConfigDrive": "config-2", "sysprep": "unattend"}
BLOCK = 4096  # bytes
SEED_KIB = 1024


class NoGuest(Exception):
    """Why a guest cannot be started; the text is for its instance."""


@dataclass(frozen=True)
class Sources:
    """Where an instance's volumes come from, read once, so that the files can be made beside the event loop."""

    claims: Mapping[str, Path]  # a claim's name: its disk
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # a volume's name: its files


def directory_of(root: Path, vmi: Object) -> Path:
    metadata = vmi["metadata"]
    return root / f"{metadata['namespace']}_{metadata['name']}"


def texts_of(
    vmi: Object, secret: Callable[[str], Object | None], config_map: Callable[[str], Object | None]
) -> dict[str, dict[str, str]]:
    """The files in an instance's volumes that are made of text. Raises NoGuest when a secret is missing."""
    found: dict[str, dict[str, str]] = {}
    for volume in vmi["spec"].get("volumes") or ():
        name = volume["name"]
        for kind in ("cloudInitNoCloud", "cloudInitConfigDrive"):
            if volume.get(kind):
                found[name] = _cloud_init(vmi, kind, volume[kind], secret)
        for kind, reader, key in (("configMap", config_map, "name"), ("secret", secret, "secretName")):
            if volume.get(kind):
                found[name] = _data(reader(volume[kind].get(key, "")), f"{kind} {volume[kind].get(key)}")
    return found


def _data(obj: Object | None, what: str) -> dict[str, str]:
    if obj is None:
        raise NoGuest(f"{what} not found")
    plain = dict(obj.get("data") or {})
    if obj.get("kind") == "Secret":
        plain = {name: base64.b64decode(value).decode("utf-8", "replace") for name, value in plain.items()}
    return plain


def _cloud_init(vmi: Object, kind: str, source: Object, secret: Callable[[str], Object | None]) -> dict[str, str]:
    """The files of a seed; texts may be plain, in base64, or in a secret."""

    def text(plain: str, encoded: str, reference: str, keys: tuple[str, ...]) -> str:
        if source.get(plain):
            return str(source[plain])
        if source.get(encoded):
            return base64.b64decode(source[encoded]).decode()
        if name := (source.get(reference) or {}).get("name"):
            data = _data(secret(name), f"secret {name}")
            return next((data[key] for key in keys if key in data), "")
        return ""

    metadata = vmi["metadata"]
    user = text("userData", "userDataBase64", "secretRef", ("userdata", "userData"))
    network = text("networkData", "networkDataBase64", "networkDataSecretRef", ("networkdata", "networkData"))
    host = vmi["spec"].get("hostname") or metadata["name"]
    told = f'{{"instance-id": "{metadata["name"]}.{metadata["namespace"]}", "local-hostname": "{host}"}}\n'
    if kind == "cloudInitNoCloud":
        files = {"meta-data": told, "user-data": user, "network-config": network}
    else:
        place = "openstack/latest"
        files = {f"{place}/meta_data.json": told, f"{place}/user_data": user, f"{place}/network_data.json": network}
    keys = [key for credential in vmi["spec"].get("accessCredentials") or () for key in _keys(credential, kind, secret)]
    if keys and kind == "cloudInitNoCloud":
        files["meta-data"] = (
            told.rstrip("}\n") + ', "public-keys": [\n' + ",\n".join(f'"{key}"' for key in keys) + "\n]}\n"
        )
    return {name: content for name, content in files.items() if content or name.endswith(("meta-data", "user-data"))}


def _keys(credential: Object, kind: str, secret: Callable[[str], Object | None]) -> list[str]:
    """Public keys that are to be in the guest before it boots."""
    public = credential.get("sshPublicKey") or {}
    method = "noCloud" if kind == "cloudInitNoCloud" else "configDrive"
    if method not in (public.get("propagationMethod") or {}):
        return []
    name = ((public.get("source") or {}).get("secret") or {}).get("secretName", "")
    return [
        line for text in _data(secret(name), f"secret {name}").values() for line in text.splitlines() if line.strip()
    ]


def prepare(
    vmi: Object, directory: Path, sources: Sources, container_disk: Callable[[str], Path]
) -> dict[str, DiskFile]:
    """Make the files of an instance's volumes, by the names of their disks. Raises NoGuest."""
    directory.mkdir(parents=True, exist_ok=True)
    found = {}
    for volume in vmi["spec"].get("volumes") or ():
        try:
            file = _file(volume, directory, sources, container_disk)
        except (OSError, ImageError, DataProblem) as error:
            raise NoGuest(f"volume {volume['name']}: {error}") from error
        if file is not None:
            found[volume["name"]] = file
    return found


def claimed(volume: Object) -> str:
    """The claim whose bytes a volume is."""
    if volume.get("dataVolume"):
        return str(volume["dataVolume"].get("name", ""))
    return str((volume.get("persistentVolumeClaim") or {}).get("claimName", ""))


def _file(volume: Object, directory: Path, sources: Sources, container_disk: Callable[[str], Path]) -> DiskFile | None:
    name = volume["name"]
    if claim := claimed(volume):
        path = sources.claims.get(claim)
        if path is None or not path.exists():
            raise NoGuest(f"volume {name}: there is no disk in PersistentVolumeClaim {claim}")
        return DiskFile(path, "raw", readonly=bool((volume.get("persistentVolumeClaim") or {}).get("readOnly")))
    if ephemeral := volume.get("ephemeral"):
        claim = (ephemeral.get("persistentVolumeClaim") or {}).get("claimName", "")
        return _overlay(directory / f"{name}.qcow2", sources.claims[claim], "raw")
    if image := volume.get("containerDisk"):
        backing = container_disk(image["image"])
        return _overlay(directory / f"{name}.qcow2", backing, "raw" if backing.name == DISK else "qcow2")
    if empty := volume.get("emptyDisk"):
        path = directory / f"{name}.img"
        with open(path, "wb") as file:
            file.truncate(int(parse(empty["capacity"])))
        return DiskFile(path, "raw")
    if name in sources.texts:
        label = next((LABELS[kind] for kind in LABELS if volume.get(kind)), name[:11])
        # Not read-only: QEMU has no SATA disk that is, and it is made anew at every start.
        return DiskFile(_seed(directory / f"{name}.iso", label, sources.texts[name]), "raw")
    return None


def _overlay(path: Path, backing: Path, format: str) -> DiskFile:
    """A disk that begins as another one and leaves that as it is."""
    path.unlink(missing_ok=True)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", format, path)
    return DiskFile(path, "qcow2")


def _seed(path: Path, label: str, files: Mapping[str, str]) -> Path:
    """A small file system with files, as cloud-init finds it by its label, in whole blocks."""
    path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as work:
        for name, content in files.items():
            (Path(work) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(work) / name).write_text(content)
        tool = next((tool for tool in ("genisoimage", "xorrisofs", "mkisofs") if shutil.which(tool)), None)
        if tool is not None:
            run(tool, "-quiet", "-output", path, "-volid", label, "-joliet", "-rational-rock", work)
        else:
            run("mkfs.vfat", "-n", label.upper(), "-C", path, str(SEED_KIB))
            run("mcopy", "-s", "-i", path, *sorted(Path(work).iterdir()), "::")
    os.truncate(path, -(-path.stat().st_size // BLOCK) * BLOCK)
    return path
