# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt refuses, in words that say what was asked, what it answered and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..task import Failure
from .library import libvirt


class KvmError(Failure):
    """Something that libvirt refused or did not answer. C(code) is libvirt's (VIR_ERR_...), 0 without one."""

    def __init__(self, message: str, *, code: int = 0, **result: object) -> None:
        super().__init__(message, **result)
        self.code = code


class NotReached(KvmError):
    """The host's libvirt does not answer, or does not let this user in."""


class NotThere(KvmError):
    """The domain, network, pool or volume does not exist."""


class Timeout(KvmError):
    """The time was over before what was waited for came."""


def _codes(*names: str) -> frozenset[int]:
    return frozenset(getattr(libvirt, name) for name in names if hasattr(libvirt, name))


# The kinds of errors, and what a user can do about them. libvirt's own text says what happened.
_NOT_THERE = _codes("VIR_ERR_NO_DOMAIN", "VIR_ERR_NO_NETWORK", "VIR_ERR_NO_STORAGE_POOL", "VIR_ERR_NO_STORAGE_VOL")
_ADVICE: tuple[tuple[frozenset[int], str], ...] = (
    (_codes("VIR_ERR_XML_ERROR", "VIR_ERR_XML_DETAIL", "VIR_ERR_XML_INVALID_SCHEMA"), "Correct the declaration."),
    (
        _codes("VIR_ERR_AGENT_UNRESPONSIVE"),
        "Start qemu-guest-agent in the guest, or leave out what needs it.",
    ),
    (
        _codes("VIR_ERR_OPERATION_TIMEOUT"),
        "Another job may hold the object; see which with `virsh domjobinfo`, then run this again.",
    ),
    (_codes("VIR_ERR_NO_SUPPORT"), "The libvirt driver behind this uri cannot do it."),
)


@contextmanager
def asking(asked: str) -> Iterator[None]:
    """Name what is asked of libvirt, e.g. C(asking("start network lan")): its errors become KvmErrors that say so."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise explained(asked, error) from error


def explained(asked: str, error: libvirt.libvirtError) -> KvmError:
    """The KvmError for an error of libvirt."""
    code = error.get_error_code() or 0
    text = (error.get_error_message() or str(error)).strip().rstrip(".")
    advice = next((text for codes, text in _ADVICE if code in codes), "")
    kind = NotThere if code in _NOT_THERE else KvmError
    return kind(f"Cannot {asked}: {text}.{' ' if advice else ''}{advice}", code=code)


def not_reached(uri: str, error: libvirt.libvirtError) -> NotReached:
    """The error for a connection that could not be opened."""
    code = error.get_error_code() or 0
    text = (error.get_error_message() or str(error)).strip().rstrip(".")
    return NotReached(
        f"Cannot connect to libvirt at {uri}: {text}. {_how_to_reach(uri, code, text.lower())}", code=code
    )


def _how_to_reach(uri: str, code: int, text: str) -> str:
    if code in _codes("VIR_ERR_AUTH_DENIED", "VIR_ERR_AUTH_FAILED", "VIR_ERR_AUTH_CANCELLED", "VIR_ERR_ACCESS_DENIED"):
        return "Log in as a user whom libvirt lets in: root (become: true), or a member of the group libvirt."
    if "permission denied" in text and "ssh" not in uri.split(":")[0]:
        return "Run the task as root (become: true), or as a member of the group libvirt."
    if "no connection driver available" in text or code in _codes("VIR_ERR_INVALID_ARG", "VIR_ERR_NO_CONNECT"):
        return "Write the uri as e.g. qemu:///system, qemu+ssh://root@host/system or qemu+tls://host/system."
    if "certificate" in text or "tls" in text:
        return "Give this machine the host's CA in /etc/pki/CA/cacert.pem and a client certificate that it signed."
    if "+" in uri.split(":")[0] and "unix" not in uri.split(":")[0]:
        return "Check that the host is up, that its name is right and that the way in (ssh, TLS) is open."
    return "Start libvirtd (or virtqemud) on the host; virtstack.core.kvm_host installs and starts it."
