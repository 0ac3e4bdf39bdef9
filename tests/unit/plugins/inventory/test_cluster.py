"""The inventory of a lab's machines, as ansible-inventory prints it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.virtstack.core.plugins.inventory import cluster as plugin

from .conftest import TEMPLATE, Lister, Server

ALL = {"db.east", "solo.east", "web.east", "web.west", "win.east"}
NOWHERE = {"K8S_AUTH_KUBECONFIG": ""}


def test_running_stopped_and_standalone_machines_are_hosts(listed: Lister) -> None:
    hosts = listed().hosts

    assert hosts.keys() == ALL
    assert {name: variables["virtstack_status"] for name, variables in hosts.items()} == {
        "db.east": "Running",
        "solo.east": "Running",
        "web.east": "Stopped",
        "web.west": "Stopped",
        "win.east": "Running",
    }
    assert hosts["solo.east"]["virtstack_kind"] == "VirtualMachineInstance"
    assert hosts["db.east"]["ansible_host"] == hosts["db.east"]["virtstack_networks"]["default"]["ips"][0]
    assert "ansible_host" not in hosts["web.east"]
    assert hosts["web.east"]["virtstack_memory"] == "4Gi"
    assert hosts["win.east"]["ansible_connection"] == "winrm"


def test_groups_are_made_of_the_usual_facts(listed: Lister) -> None:
    inventory = listed()

    assert inventory.group("namespace_west") == ["web.west"]
    assert inventory.group("status_stopped") == ["web.east", "web.west"]
    assert inventory.group("os_windows") == ["win.east"]
    assert inventory.group("instancetype_u1_medium") == ["db.east", "web.east", "web.west", "win.east"]
    node = inventory.hosts["db.east"]["virtstack_node"].replace("-", "_")
    assert "db.east" in inventory.group(f"node_{node}")


def test_one_list_a_kind_reads_the_whole_cluster(listed: Lister, server: Server) -> None:
    server.requests(forget=True)
    listed()

    assert server.requests() == {
        "list virtualmachines.kubevirt.io": 1,
        "list virtualmachineinstances.kubevirt.io": 1,
        "list virtualmachineclusterinstancetypes.instancetype.kubevirt.io": 1,
    }


def test_no_secret_reaches_the_inventory(listed: Lister) -> None:
    assert "hunter2" not in json.dumps(listed().document)


def test_data_of_the_cluster_is_never_templated(
    listed: Lister, lab: Any, ansible: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert listed().hosts["web.east"]["virtstack_annotations"] == {"note": TEMPLATE}

    arguments = ("web.east", "-i", "lab.virtstack.yml", "-m", "ansible.builtin.debug")
    shown = ansible("ansible", *arguments, "-a", "var=virtstack_annotations", K8S_AUTH_KUBECONFIG=lab.kubeconfig).stdout
    assert TEMPLATE in shown
    assert "templated" not in shown


def test_the_constructed_options_see_the_variables(listed: Lister) -> None:
    inventory = listed(
        """
compose:
  ansible_user: "'cloud-user' if virtstack_os == 'rhel' else omit_me | default('fedora')"
  zone: virtstack_labels['topology.example.com/zone']
groups:
  backends: virtstack_labels.tier == 'back'
keyed_groups:
  - {key: virtstack_labels.app, prefix: app}
group_by: [namespace]
group_by_labels: [tier, 'topology.*']
group_prefix: kv_
cluster_name: lab
"""
    )

    assert inventory.hosts["db.east"]["ansible_user"] == "cloud-user"
    assert inventory.hosts["web.west"]["ansible_user"] == "fedora"
    assert inventory.hosts["db.east"]["zone"] == "z1"
    assert "zone" not in inventory.hosts["web.west"]
    assert inventory.group("backends") == ["db.east"]
    assert inventory.group("app_shop") == ["db.east", "web.east"]
    assert inventory.group("kv_namespace_west") == ["web.west"]
    assert inventory.group("kv_label_tier_back") == ["db.east"]
    assert inventory.group("kv_label_topology_example_com_zone_z1") == ["db.east"]
    assert set(inventory.group("kv_cluster_lab")) == ALL
    assert inventory.hosts["db.east"]["virtstack_cluster"] == "lab"
    assert not inventory.group("status_running")


def test_hosts_are_named_by_the_first_expression_that_gives_a_text(listed: Lister) -> None:
    hosts = listed("hostnames: [virtstack_labels.tier ~ '-' ~ virtstack_name, virtstack_name]").hosts

    # Two machines are called web: neither gets the name.
    assert hosts.keys() == {"back-db", "solo", "web.east", "web.west", "win"}


def test_filters_must_all_be_true(listed: Lister) -> None:
    conditions = [
        "virtstack_status == 'Stopped'",
        "virtstack_labels.app in ['shop', 'site']",
        "virtstack_os != 'fedora'",
    ]

    assert listed(f"filters: {json.dumps(conditions)}").hosts.keys() == {"web.east"}


def test_an_expression_that_fails_is_an_error_only_when_strict(listed: Lister) -> None:
    text = "filters: [virtstack_labels.tier == 'back']"

    assert listed(text).hosts.keys() == {"db.east"}
    assert "filters: virtstack_labels.tier == 'back' cannot be evaluated for " in (
        listed(f"{text}\nstrict: true", check=False).complaints
    )


def test_labels_select_a_machine_with_its_instance(listed: Lister) -> None:
    hosts = listed("label_selector: app=shop").hosts

    assert hosts.keys() == {"db.east", "web.east"}
    # The instance has not the label that selects its machine.
    assert hosts["db.east"]["ansible_host"]
    assert listed("label_selector: app in (batch)").hosts.keys() == {"solo.east"}


def test_fields_select_too(listed: Lister) -> None:
    assert listed("field_selector: metadata.name=web").hosts.keys() == {"web.east", "web.west"}


def test_namespaces_limit_what_is_listed(listed: Lister, server: Server) -> None:
    server.requests(forget=True)

    assert listed("namespaces: [west]").hosts.keys() == {"web.west"}
    assert server.requests()["list virtualmachines.kubevirt.io"] == 1


def test_many_namespaces_are_read_with_one_list(listed: Lister, server: Server) -> None:
    server.requests(forget=True)
    names = ", ".join(["west", *(f"nothing-{number}" for number in range(20))])

    assert listed(f"namespaces: [{names}]").hosts.keys() == {"web.west"}
    assert server.requests()["list virtualmachines.kubevirt.io"] == 1


def test_a_forbidden_namespace_is_reported_and_skipped(listed: Lister, reader: str) -> None:
    inventory = listed(f"impersonate_user: {reader}\nnamespaces: [east, west]")

    assert inventory.hosts.keys() == {"db.east", "solo.east", "web.east", "win.east"}
    assert "not allowed to list virtualmachines.kubevirt.io in west" in inventory.complaints


def test_who_may_read_nothing_is_told_so(listed: Lister, reader: str) -> None:
    inventory = listed(f"impersonate_user: {reader}\nnamespaces: [west]", check=False)

    assert "virtualmachines.kubevirt.io" in inventory.complaints


def test_who_may_not_find_namespaces_is_told_to_name_them(listed: Lister, reader: str) -> None:
    inventory = listed(f"impersonate_user: {reader}", check=False)

    assert "with the option namespaces" in inventory.complaints


def test_a_service_gives_address_and_port(listed: Lister) -> None:
    hosts = listed("address: [service, interface]\nnode_domain: example.com").hosts

    assert hosts["db.east"]["ansible_host"] == hosts["db.east"]["virtstack_node"] + ".example.com"
    assert hosts["db.east"]["ansible_port"] == 30022
    assert "ansible_port" not in hosts["win.east"]


def test_a_service_is_reached_by_the_nodes_address(listed: Lister, server: Server) -> None:
    server.requests(forget=True)
    hosts = listed("address: [service]\nnode_address: internal_ip").hosts

    assert hosts["db.east"]["ansible_host"].count(".") == 3
    assert server.requests()["list nodes"] == 1


def test_services_that_may_not_be_read_are_reported(listed: Lister, reader: str) -> None:
    inventory = listed(f"impersonate_user: {reader}\nnamespaces: [east]\naddress: [service, interface]")

    assert inventory.hosts["db.east"]["ansible_host"]
    assert "not allowed to list services in east" in inventory.complaints


@pytest.mark.parametrize("connection", ["psrp", "none"])
def test_windows_guests_are_connected_to_as_told(listed: Lister, connection: str) -> None:
    found = listed(f"windows_connection: {connection}").hosts["win.east"].get("ansible_connection", "none")

    assert found == connection


def test_awx_needs_nothing_but_its_credential(listed: Lister, server: Server) -> None:
    credential = {"K8S_AUTH_HOST": server.url, "K8S_AUTH_API_KEY": server.token, "K8S_AUTH_VERIFY_SSL": "False"}

    assert listed(**NOWHERE, **credential).hosts.keys() == ALL


def test_options_are_templated_and_decrypted(
    listed: Lister, server: Server, tmp_path: Path, ansible: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "password").write_text("open sesame")
    vault = ansible(
        "ansible-vault", "encrypt_string", "--vault-password-file", "password", "--name", "api_key", "--", server.token
    ).stdout
    text = f"""
host: "{{{{ lookup('ansible.builtin.env', 'LAB_URL') }}}}"
validate_certs: "{{{{ secure }}}}"
request_timeout: "{{{{ 5 + 5 }}}}"
namespaces: "{{{{ places }}}}"
{vault}
"""
    extra = json.dumps({"secure": False, "places": ["west"]})
    environment = {"LAB_URL": server.url, "ANSIBLE_VAULT_PASSWORD_FILE": "password"}
    # ansible-inventory takes extra variables as a playbook does.
    hosts = listed(text, "-e", extra, **environment, **NOWHERE).hosts

    assert hosts.keys() == {"web.west"}


def test_a_cached_inventory_asks_the_cluster_nothing(
    listed: Lister, lab: Any, server: Server, tmp_path: Path, ansible: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    text = "cache: true\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: cache"
    (tmp_path / "cache").mkdir(mode=0o700)
    first = listed(text)
    server.requests(forget=True)

    assert listed(text).document == first.document
    assert server.requests() == {}
    # Other options, another cache; flushing reads anew.
    assert listed(f"{text}\nnamespaces: [west]").hosts.keys() == {"web.west"}
    listed(text)
    server.requests(forget=True)
    (tmp_path / "play.yml").write_text("- hosts: all")
    flush = ("-i", "lab.virtstack.yml", "--list-hosts", "--flush-cache")
    ansible("ansible-playbook", *flush, "play.yml", K8S_AUTH_KUBECONFIG=lab.kubeconfig)
    assert server.requests()["list virtualmachines.kubevirt.io"] == 1


def test_a_directory_of_everybodys_is_no_cache(listed: Lister, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    inventory = listed(f"cache: true\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: {shared}")

    assert inventory.hosts.keys() == ALL
    assert "others may write in" in inventory.complaints
    assert os.listdir(shared) == []


@pytest.mark.parametrize("name", ["virtstack.yml", "prod.virtstack.yaml", "cluster.yaml"])
def test_the_file_is_known_by_its_name(listed: Lister, name: str) -> None:
    assert listed("namespaces: [west]", name=name).hosts.keys() == {"web.west"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("label_selector: app=(db)", "label_selector is no label selector"),
        ("host: https://127.0.0.1:1\napi_key: x", "127.0.0.1"),
        ("kubeconfig: /nowhere/kubeconfig", "there is no file /nowhere/kubeconfig"),
        ("address: [telepathy]", "telepathy"),
        ("field_selector: spec.runStrategy=Always", "field"),
    ],
)
def test_bad_options_are_errors_in_words(listed: Lister, text: str, complaint: str) -> None:
    complaints = listed(text, check=False, **NOWHERE if "host:" in text else {}).complaints

    assert complaint in complaints
    assert "Traceback" not in complaints


@pytest.mark.parametrize("example", list(yaml.safe_load_all(plugin.EXAMPLES)), ids=json.dumps)
def test_every_example_makes_an_inventory(
    listed: Lister, lab: Any, environment: dict[str, str], example: dict[str, Any]
) -> None:
    if "kubeconfig" in example:
        config = Path(environment["HOME"], ".kube", "config")
        config.parent.mkdir()
        config.write_text(Path(lab.kubeconfig).read_text())
    options = {key: value for key, value in example.items() if key != "plugin"}
    assert "_meta" in listed(yaml.safe_dump(options) if options else "").document
