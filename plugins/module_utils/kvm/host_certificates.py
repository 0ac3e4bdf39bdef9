# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What proves a host to others, and to other hosts: where libvirt looks for it, and whether it proves anything.

Pure but for files that are read and temporary ones. Places: https://libvirt.org/kbase/tlscerts.html
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from ..machine.refusal import Refused
from ..task import Failure

# Of each part: where libvirt looks for it, and who may read it.
PLACES: Mapping[str, tuple[str, int]] = {
    "ca": ("/etc/pki/CA/cacert.pem", 0o644),
    "certificate": ("/etc/pki/libvirt/servercert.pem", 0o644),
    "key": ("/etc/pki/libvirt/private/serverkey.pem", 0o600),
    "client_certificate": ("/etc/pki/libvirt/clientcert.pem", 0o644),
    "client_key": ("/etc/pki/libvirt/private/clientkey.pem", 0o600),
}
# Without these the host cannot be proved; the others are for when it goes to other hosts.
OWN = ("ca", "certificate", "key")
_MARK = "-----BEGIN "


def texts(given: Mapping[str, str | None]) -> dict[str, str]:
    """The parts of C(certificates) in PEM, by their names; each is a file or already the text.

    Raises Failure for a file that cannot be read, Refused for what is no PEM and for what nobody would believe.
    """
    found = {part: _text(part, value) for part, value in given.items() if value is not None}
    if ("client_certificate" in found) != ("client_key" in found):
        raise Refused("certificates: client_certificate and client_key belong together")
    _prove(found)
    return found


def keys(given: Mapping[str, str | None] | None) -> set[str]:
    """The keys of C(certificates) that are given as texts."""
    values = [given.get(part) for part in ("key", "client_key")] if given else []
    return {value for value in values if value is not None and _MARK in value}


def _text(part: str, value: str) -> str:
    if _MARK in value:
        return value.strip() + "\n"
    source = Path(os.path.expanduser(os.path.expandvars(value)))
    try:
        text = source.read_text()
    except (OSError, ValueError) as error:
        raise Failure(
            f"Cannot read {source}, where the task runs: {error}. To give certificates.{part} from the controller,"
            " give its text: lookup('ansible.builtin.file', ...)."
        ) from error
    if _MARK not in text:
        raise Refused(f"certificates: {source} is no PEM file")
    return text


def _prove(found: Mapping[str, str]) -> None:
    """Have a client of this CA meet the host, as others will: libvirt does not start with what is not believed."""
    with TemporaryDirectory() as directory:
        files = {part: Path(directory, part) for part in found}
        for part, file in files.items():
            file.touch(mode=0o600)
            file.write_text(found[part])
        host, peer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        peer.check_hostname = False
        for context in (host, peer):
            # How long keys have to be is libvirt's to say.
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            _load(context.load_verify_locations, "ca", files["ca"])
        _load(host.load_cert_chain, "certificate and key", files["certificate"], files["key"])
        if "client_key" in files:
            host.verify_mode = ssl.CERT_REQUIRED
            chain = files["client_certificate"], files["client_key"]
            _load(peer.load_cert_chain, "client_certificate and client_key", *chain)
        _meet(host, peer)


def _load(load: object, label: str, *files: Path) -> None:
    # A key that has a password would have Python ask for it on a terminal.
    more = {"password": ""} if len(files) > 1 else {}
    try:
        load(*files, **more)  # type: ignore[operator]
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise Refused(f"certificates: {label} cannot be used: {reason}") from error


def _meet(host: ssl.SSLContext, peer: ssl.SSLContext) -> None:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = {
        "client_certificate": host.wrap_bio(there, back, server_side=True),
        "certificate": peer.wrap_bio(back, there),
    }
    waiting = list(sides)
    while waiting:
        for believed in reversed(list(waiting)):
            try:
                sides[believed].do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                raise Refused(
                    f"certificates: whoever trusts ca does not believe {believed}: {error.verify_message}"
                ) from error
            except ssl.SSLError as error:
                raise Refused(f"certificates: nobody could come in by them: {error.reason}") from error
            waiting.remove(believed)
