"""The formats that a CRD may ask of a string: kube-openapi/pkg/validation/strfmt."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import re
import urllib.parse
import uuid
from collections.abc import Callable

_HOSTNAME = re.compile(r"^([a-zA-Z0-9\u00A0-\uD7FF\uF900-\uFDCF\uFDF0-\uFFEF_]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.?)+$")
_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+$")
_MAC = re.compile(r"^([0-9A-Fa-f]{2}[:-]){5}([0-9A-Fa-f]{2})$")
_NUMBER_AND_UNIT = r"(\d+(\.\d*)?|\.\d+)\s*[a-zµμ]*"
_DURATION = re.compile(rf"^\s*[+-]?({_NUMBER_AND_UNIT}\s*)+$")
_DATE_TIME = re.compile(r"^\d{4}-\d{2}-\d{2}[tT]\d{2}:\d{2}:\d{2}(\.\d+)?([zZ]|[+-]\d{2}:\d{2})$")


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def valid(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return valid


def _date_time(text: str) -> bool:
    if not _DATE_TIME.match(text):
        return False
    try:
        datetime.datetime.fromisoformat(text[:19])
    except ValueError:
        return False
    return True


def _uri(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) or text.startswith("/")


FORMATS: dict[str, Callable[[str], bool]] = {
    "byte": _parses(lambda text: base64.b64decode(text, validate=True)),
    "cidr": lambda text: "/" in text and _parses(ipaddress.ip_interface)(text),
    "date": _parses(datetime.date.fromisoformat),
    "date-time": _date_time,
    "duration": lambda text: bool(_DURATION.match(text)),
    "email": lambda text: bool(_EMAIL.match(text)),
    "hostname": lambda text: len(text) <= 255 and bool(_HOSTNAME.match(text)),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "mac": lambda text: bool(_MAC.match(text)),
    "uri": _uri,
    "uuid": _parses(uuid.UUID),
}


def fits(text: str, name: str) -> bool:
    """Whether C(text) is of the format; formats nobody knows fit everything."""
    check = FORMATS.get(name)
    return check is None or check(text)
