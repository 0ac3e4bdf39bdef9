# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-init reads at the first boot: user data, network data, and the keys of those who may log in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment,unused-ignore]

from .refusal import Problems, Refused

CLOUD_CONFIG = "#cloud-config"
# How user data begins (https://docs.cloud-init.io/en/latest/explanation/format.html).
HEADERS = (
    CLOUD_CONFIG,
    "#!",
    "## template: jinja",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "Content-Type:",
    "MIME-Version:",
)
DATASOURCES = ("no_cloud", "config_drive")

# A line of authorized_keys: options, key type, key, comment.
_PUBLIC_KEY = re.compile(r"(?:\S.*\s)?(?:ssh-|ecdsa-|sk-)[\w@.-]+\s+[A-Za-z0-9+/]{16,}={0,3}(?:\s.*)?")


@dataclass(frozen=True)
class CloudInit:
    """The seed of a machine. Texts are complete; the names are Secrets that hold what is not written here."""

    user_data: str | None = None
    network_data: str | None = None
    secret: str | None = None
    network_secret: str | None = None
    datasource: str = "no_cloud"


def read_cloud_init(options: Mapping[str, Any] | None, ssh_keys: Sequence[str] | None) -> CloudInit | None:
    """The seed that C(cloud_init:) and C(ssh_keys:) describe together; None when neither is given."""
    given = options or {}
    if options is None and not ssh_keys:
        return None
    problems = Problems()
    keys = problems.take(lambda: read_ssh_keys(ssh_keys or ())) or []
    user_data = problems.take(lambda: _user_data(given, keys))
    network_data = given.get("network_data")
    if given.get("network_config") is not None:
        network_data = _dump(given["network_config"])
    if keys and given.get("secret"):
        problems.add(
            "ssh_keys: cannot be added to cloud_init.secret, which only the guest reads; put the keys into the Secret"
        )
    problems.refuse()
    return CloudInit(
        user_data, network_data, given.get("secret"), given.get("network_secret"), given.get("datasource") or "no_cloud"
    )


def read_ssh_keys(keys: Sequence[str]) -> list[str]:
    """Public keys, each a line of C(authorized_keys); a file's worth of them may come as one text."""
    lines = [line.strip() for key in keys for line in key.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    problems = Problems()
    if keys and not lines:
        problems.add("ssh_keys: holds no key; give a public key, or leave it out")
    for line in lines:
        if "PRIVATE KEY" in line:
            raise Refused("ssh_keys: this is a private key; give the public one (the file that ends in .pub)")
        if not _PUBLIC_KEY.fullmatch(line):
            shown = line if len(line) <= 40 else f"{line[:37]}..."
            problems.add(f'ssh_keys: "{shown}" is no public key; write e.g. "ssh-ed25519 AAAAC3... me@example.com"')
    problems.refuse()
    return list(dict.fromkeys(lines))


def _user_data(options: Mapping[str, Any], keys: list[str]) -> str | None:
    text, config = options.get("user_data"), options.get("user_config")
    if text is not None and not text.lstrip().startswith(HEADERS):
        raise Refused(
            f"cloud_init.user_data: cloud-init ignores what does not begin with {CLOUD_CONFIG}, #! or another of its "
            "headers; add the first line, or give a dictionary to cloud_init.user_config"
        )
    if yaml is None and (config is not None or keys):
        raise Refused("cloud_init: install PyYAML for the Python that runs this task")
    if config is not None:
        return f"{CLOUD_CONFIG}\n{_dump(_with_keys(config, keys))}"
    if not keys:
        return text
    if text is None:
        return f"{CLOUD_CONFIG}\n{_dump({'ssh_authorized_keys': keys})}"
    if not text.lstrip().startswith(CLOUD_CONFIG):
        raise Refused(
            "ssh_keys: can be added to user data that is #cloud-config; put the keys into cloud_init.user_data"
        )
    try:
        config = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise Refused(f"cloud_init.user_data: is no YAML, so ssh_keys cannot be added: {_where(error)}") from error
    if not isinstance(config, Mapping):
        raise Refused("cloud_init.user_data: is no dictionary, so ssh_keys cannot be added")
    return f"{CLOUD_CONFIG}\n{_dump(_with_keys(config, keys))}"


def _with_keys(config: Mapping[str, Any], keys: list[str]) -> dict[str, Any]:
    if not keys:
        return dict(config)
    declared = list(config.get("ssh_authorized_keys") or ())
    return {**config, "ssh_authorized_keys": list(dict.fromkeys(declared + keys))}


def _dump(data: Any) -> str:
    return yaml.safe_dump(_plain(data), sort_keys=False, default_flow_style=False, width=4096, allow_unicode=True)


def _plain(data: Any) -> Any:
    """The same data in plain types: Ansible's strings carry tags that YAML does not know."""
    if isinstance(data, Mapping):
        return {_plain(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(item) for item in data]
    if isinstance(data, bool) or data is None:
        return data
    for kind in (str, int, float):
        if isinstance(data, kind):
            return kind(data)
    return str(data)


def _where(error: yaml.YAMLError) -> str:
    """Where YAML went wrong, without the text around it: that may be a password."""
    mark = getattr(error, "problem_mark", None)
    return f"{getattr(error, 'problem', None) or 'not readable'}" + (f" in line {mark.line + 1}" if mark else "")
