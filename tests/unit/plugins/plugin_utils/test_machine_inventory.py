"""How machines become hosts of an inventory."""

from __future__ import annotations

from ansible.inventory.host import Host
from ansible_collections.virtstack.core.plugins.plugin_utils.machine_inventory import _tell


def test_a_host_has_its_variables_beside_what_other_inventories_told() -> None:
    host = Host("db")
    host.set_variable("rack", "r1")
    _tell(host, {"virtstack_name": "db", "ansible_host": "10.0.0.5"})
    _tell(host, {"virtstack_name": "db2"})

    assert host.vars == {"rack": "r1", "virtstack_name": "db2", "ansible_host": "10.0.0.5"}
