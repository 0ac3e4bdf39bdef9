# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The XML of a storage pool: what options say of it.

Pure. https://libvirt.org/formatstorage.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from ..machine.refusal import Refused
from .overlay import Keys, attributes, instead, laid_over, whole
from .xml import make, parse, remove, same

FS = "http://libvirt.org/schemas/storagepool/fs/1.0"
# What each type needs: the target, and parts of the source.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "dir": ("target",),
    "fs": ("target", "source.devices"),
    "netfs": ("target", "source.hosts", "source.directory"),
    "logical": (),
    "disk": ("source.devices",),
    "iscsi": ("source.hosts", "source.devices"),
    "iscsi-direct": ("source.hosts", "source.devices", "source.initiator"),
    "scsi": ("source.adapter",),
    "mpath": (),
    "rbd": ("source.name",),
    "gluster": ("source.hosts", "source.name"),
    "zfs": ("source.name",),
    "vstorage": ("source.name", "target"),
}
# The target of types that have a usual one.
_TARGETS = {"disk": "/dev", "iscsi": "/dev/disk/by-path", "scsi": "/dev/disk/by-path", "mpath": "/dev/mapper"}
# What tells of the moment, not of the pool.
_OF_THE_MOMENT = ("capacity", "allocation", "available")

KEYS: Keys = {
    "source/host": attributes("name"),
    "source/device": attributes("path"),
    f"{{{FS}}}mount_opts/{{{FS}}}option": attributes("name"),
}


def restored(text: str) -> Element:
    """The document that libvirt gave out, without what tells of the moment."""
    pool = parse(text)
    for tag in _OF_THE_MOMENT:
        remove(pool, tag)
    for source in pool.findall("source"):
        if not len(source) and not source.attrib:
            pool.remove(source)
    return pool


def place(pool: Element) -> Element:
    """Only what an active pool would have to be restarted for: its source, its directory."""
    found = make("pool", None, type=pool.get("type"))
    for child in pool:
        if child.tag in ("source", f"{{{FS}}}mount_opts"):
            found.append(deepcopy(child))
    found.append(make("path", pool.findtext("target/path")))
    return found


def declared(name: str, options: Mapping[str, Any], live: Element | None) -> Element:
    """The pool that is wanted: the options laid over the one that is there. Raises Refused for what cannot be."""
    extra = _extra(name, options["xml"])
    base = live
    if base is None:
        type_ = options["type"] or (extra is not None and extra.get("type"))
        if not type_:
            raise Refused("type: is missing; a new pool needs one, e.g. dir")
        base = make("pool", None, type=type_)
        base.append(make("name", name))
    if extra is not None:
        base = laid_over(base, extra, KEYS)
    if options["type"] is not None and base.get("type") != options["type"]:
        raise Refused(
            f"type: pool {name} is of type {base.get('type')}, which cannot become {options['type']};"
            " remove it first (state: absent keeps what is in it)"
        )
    wanted = laid_over(base, _overlay(options, base), KEYS)
    problems = list(_problems(name, wanted))
    if problems:
        raise Refused(*problems)
    if extra is not None and not same(laid_over(wanted, extra, KEYS), wanted):
        raise Refused("xml: says something else than the options do; say each thing once")
    return wanted


def _extra(name: str, text: str | None) -> Element | None:
    if not text:
        return None
    extra = parse(text)
    if extra.tag != "pool":
        raise Refused(f"xml: begins with <{extra.tag}>; the document of a pool begins with <pool>")
    told = (extra.findtext("name") or name).strip()
    if told != name:
        raise Refused(f"xml: names the pool {told}, the task names it {name}; leave the name out of xml")
    return extra


def _overlay(options: Mapping[str, Any], live: Element) -> Element:
    pool = make("pool")
    source = _source(options["source"] or {}, str(live.get("type")))
    if len(source):
        pool.append(source)
    target = make("target")
    path = options["target"] or (None if live.findtext("target/path") else _TARGETS.get(str(live.get("type"))))
    if path is not None:
        target.append(make("path", path.rstrip("/") or "/"))
    permissions = make("permissions")
    for tag in ("mode", "owner", "group"):
        if options[tag] is not None:
            permissions.append(make(tag, _mode(options[tag]) if tag == "mode" else str(options[tag])))
    if len(permissions):
        target.append(permissions)
    if len(target):
        pool.append(target)
    if options["mount_options"] is not None:
        mounting = SubElement(pool, f"{{{FS}}}mount_opts")
        for option in options["mount_options"]:
            mounting.append(make(f"{{{FS}}}option", None, name=option))
        whole(mounting, f"{{{FS}}}option")
    return pool


def _mode(text: str) -> str:
    """A mode as libvirt writes it: C(0755)."""
    try:
        value = int(str(text), 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o7777:
        raise Refused(f'mode: "{text}" is no mode; write it in octal and quoted, e.g. "0755"')
    return f"{value:04o}"


def _source(options: Mapping[str, Any], type_: str) -> Element:
    source = make("source")
    for host in options.get("hosts") or ():
        port = host["port"]
        source.append(make("host", None, name=host["name"], port=str(port) if port is not None else None))
    for device in options.get("devices") or ():
        source.append(make("device", None, path=device))
    whole(source, *(tag for tag, part in (("host", "hosts"), ("device", "devices")) if options.get(part) is not None))
    if options.get("directory") is not None:
        source.append(make("dir", None, path=options["directory"]))
    if options.get("adapter") is not None:
        source.append(make("adapter", None, type="scsi_host", name=options["adapter"]))
    if options.get("name") is not None:
        source.append(make("name", options["name"]))
    if options.get("initiator") is not None:
        SubElement(source, "initiator").append(make("iqn", None, name=options["initiator"]))
    if options.get("format") is not None:
        source.append(make("format", None, type=options["format"]))
    if options.get("protocol_version") is not None:
        source.append(make("protocol", None, ver=options["protocol_version"]))
    auth = options.get("auth")
    if auth is not None:
        kind = "ceph" if type_ == "rbd" else "chap"
        element = make("auth", None, type=kind, username=auth["username"])
        element.append(make("secret", None, uuid=auth["secret_uuid"], usage=auth["secret_usage"]))
        source.append(instead(element))
    return source


# Where the XML has what a type needs.
_PLACES = {
    "target": "target/path",
    "source.devices": "source/device",
    "source.hosts": "source/host",
    "source.directory": "source/dir",
    "source.name": "source/name",
    "source.adapter": "source/adapter",
    "source.initiator": "source/initiator/iqn",
}


def _problems(name: str, pool: Element) -> Iterator[str]:
    if not name or "/" in name or name != name.strip():
        yield f"name: {name!r} is no name of a pool; it has no slash and no space at its ends"
    type_ = str(pool.get("type"))
    for option in NEEDS.get(type_, ()):
        if pool.find(_PLACES[option]) is None:
            yield f"{option}: is missing; a pool of type {type_} needs it"
    path = pool.findtext("target/path")
    if path is not None and not path.startswith("/"):
        yield f"target: {path} is no absolute path"
