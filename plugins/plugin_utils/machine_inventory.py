# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory of machines, whoever runs them: options that are templated, a cache that is safe, names, groups.

A plugin says which files are its own, and gathers the host variables of its machines; they all begin with
C(virtstack_), but for the C(ansible_*) that say how to connect. Its documentation has the options filters, hostnames,
group_by, group_by_labels, group_prefix, and extends the fragments constructed and inventory_cache.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ansible.template
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.module_utils.common.text.converters import to_native
from ansible.module_utils.parsing.convert_bool import BOOLEANS_FALSE
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.virtstack.core.plugins.module_utils.inventory.naming import (
    Grouping,
    default_name,
    unique_names,
)
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

# Expressions over host variables; all other values in the file are templated when it is read.
_EXPRESSIONS = frozenset({"compose", "groups", "keyed_groups", "hostnames", "filters"})

_FALSE_WORDS = {str(word).lower() for word in BOOLEANS_FALSE} | {"", "none"}

# From ansible-core 2.19 on only what is marked as trusted is templated. Before, all is but what is marked as unsafe.
_MARKS_TRUST = hasattr(ansible.template, "trust_as_template")

Variables = dict[str, Any]


class MachineInventory(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    """What the inventories of machines have in common."""

    FILE_ENDINGS: tuple[str, ...] = ()

    def gathered(self) -> tuple[list[Variables], bool]:
        """The host variables of all machines, and whether they are all that there are. Raises Failure."""
        raise NotImplementedError

    def asked(self) -> Mapping[str, Any]:
        """The options on which it depends what is gathered."""
        raise NotImplementedError

    def credential_files(self) -> Iterable[str]:
        """Paths of files on whose content it depends, too."""
        return ()

    def grouping(self) -> Grouping:
        return Grouping(**self.options_named(("group_by", "group_by_labels", "group_prefix")))

    def verify_file(self, path: str) -> bool:
        """Whether the file is there and its name is one of this plugin's."""
        return bool(super().verify_file(path)) and path.endswith(self.FILE_ENDINGS)

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        """Take options from the file, templated and decrypted before they are converted to their types."""
        if direct is not None:
            direct = {key: value if key in _EXPRESSIONS else self._resolved(value) for key, value in direct.items()}
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory. Raises AnsibleParserError with what was answered, or which option is wrong."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        with _uncollected():
            try:
                guests = self._guests(path, cache)
            except Failure as failure:
                raise AnsibleParserError(failure.message) from failure
            self.populate(guests)

    def options_named(self, names: Iterable[str]) -> dict[str, Any]:
        return {name: self.get_option(name) for name in names}

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._resolved(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolved(item) for item in value]
        if getattr(value, "__ENCRYPTED__", False):
            return str(value)
        self.templar.available_variables = self._vars or {}
        return self.templar.template(value)

    def _guests(self, path: str, cache: bool) -> list[Variables]:
        """The host variables of all guests, from the cache where that is wanted and has them."""
        if not self._may_cache():
            return self.gathered()[0]
        key = self._cache_key(path)
        if cache:
            try:
                return list(self._cache[key]["guests"])
            except KeyError:
                self.display.vvv(f"no cached inventory for {path}")
        guests, complete = self.gathered()
        # What is missing now may be there the next time.
        if complete:
            self._cache[key] = {"guests": guests}
        return guests

    def _may_cache(self) -> bool:
        """Whether to cache. Never where another user could put an inventory of theirs in our cache's place."""
        if not self.get_option("cache"):
            return False
        directory = os.path.expanduser(os.path.expandvars(self.get_option("cache_connection") or ""))
        if os.path.isdir(directory) and stat.S_IMODE(os.stat(directory).st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
            self.display.warning(
                f"inventory is not cached: others may write in {directory}. Use a directory of your own."
            )
            return False
        return True

    def _cache_key(self, path: str) -> str:
        """A name that only who has the same options and credentials can tell."""
        digest = hashlib.sha256(json.dumps([path, self.asked()], sort_keys=True, default=str).encode())
        for file in self.credential_files():
            if os.path.isfile(file):
                with open(file, "rb") as content:
                    digest.update(content.read())
        return f"{self.get_cache_key(path)}_{digest.hexdigest()}"

    def populate(self, guests: list[Variables]) -> None:
        if not _MARKS_TRUST:
            guests = [_unsafe(guest) for guest in guests]
        guests = [guest for guest in guests if self._passes(guest)]
        grouping = self.grouping()
        groups: dict[str, str] = {}
        names = unique_names(guests, [self._name(guest) for guest in guests])
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise AnsibleParserError(
                f"several machines are called {', '.join(sorted(twice))}: tell them apart with the option hostnames."
            )
        for name, guest in zip(names, guests, strict=True):
            self.inventory.add_host(name)
            host = self.inventory.get_host(name)
            _tell(host, guest)
            for group in grouping.names(guest):
                if group not in groups:
                    groups[group] = self.inventory.add_group(self._sanitize_group_name(group))
                self.inventory.add_child(groups[group], name)
            self._construct(name, host)

    def _construct(self, name: str, host: Any) -> None:
        compose, groups, keyed_groups = (self.get_option(key) for key in ("compose", "groups", "keyed_groups"))
        if compose or groups or keyed_groups:
            strict = self.get_option("strict")
            self._set_composite_vars(compose, host.get_vars(), name, strict)
            self._add_host_to_composed_groups(groups, host.get_vars(), name, strict, fetch_hostvars=False)
            self._add_host_to_keyed_groups(keyed_groups, host.get_vars(), name, strict, fetch_hostvars=False)

    def _name(self, guest: Variables) -> str:
        for expression in self.get_option("hostnames"):
            name = self._evaluated("hostnames", expression, guest)
            if name is not None and str(name).strip():
                return str(name).strip()
        return default_name(guest)

    def _passes(self, guest: Variables) -> bool:
        return all(self._is_true(condition, guest) for condition in self.get_option("filters"))

    def _is_true(self, condition: str, guest: Variables) -> bool:
        value = self._evaluated("filters", condition, guest)
        # ansible-core before 2.19 gives text for what is no literal.
        return bool(value) and str(value).strip().lower() not in _FALSE_WORDS

    def _evaluated(self, option: str, expression: str, guest: Variables) -> Any:
        try:
            return self._compose(expression, guest)
        except Exception as error:
            # Jinja and the filters in an expression raise what they like.
            if self.get_option("strict"):
                name = default_name(guest)
                raise AnsibleError(
                    f"{option}: {expression} cannot be evaluated for {name}: {to_native(error)}"
                ) from error
            return None


def _tell(host: Any, guest: Variables) -> None:
    """Give a host its variables."""
    # Ansible's own way checks the names one by one, which are known here, and minds what another inventory has told.
    if host.vars.keys().isdisjoint(guest):
        host.vars.update(guest)
        return
    # Not inventory.set_variable: in 2.19 that copies every value to note which file it came from.
    for variable, value in guest.items():
        host.set_variable(variable, value)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's collector of cycles out: what is read has none, and there is a lot of it to look through."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # The inventory stays to the end of the run, so later collections need not look through it either.
        gc.freeze()
        if was_enabled:
            gc.enable()


def _unsafe(value: Any) -> Any:
    """Data that ansible-core before 2.19 does not template, whatever stands in it."""
    from ansible.utils.unsafe_proxy import wrap_var

    if isinstance(value, dict):
        return {key: _unsafe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unsafe(item) for item in value]
    return wrap_var(value) if isinstance(value, str) and "{" in value else value
