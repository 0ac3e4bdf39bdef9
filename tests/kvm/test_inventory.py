"""The inventory of two real hosts: guests that run, guests that are off, hosts and agents that do not answer."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.virtstack.core.plugins.inventory import kvm as plugin
from ansible_collections.virtstack.core.plugins.module_utils.kvm.agent import Agent
from ansible_collections.virtstack.core.plugins.module_utils.kvm.agent_exec import execute
from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import connect
from guests import Console, Guest, domain_xml, take_away
from playing import Ansible
from stage import opened, stage
from virtlab.hosts.host import Host
from virtlab.tiny.image import Tiny

MAC = "52:54:00:1e:00:01"
TEMPLATE = "{{ 'templ' ~ 'ated' }}"
KEPT = (
    "<metadata><virtstack:machine xmlns:virtstack='https://virtstack.github.io/xmlns/core/1'>"
    '<virtstack:labels>{"app": "shop"}</virtstack:labels>'
    f"<virtstack:annotations>{json.dumps({'note': TEMPLATE})}</virtstack:annotations>"
    "</virtstack:machine></metadata>"
)
CARD = (
    f"<interface type='network'><mac address='{MAC}'/><source network='default'/><model type='virtio'/>"
    "<alias name='ua-lan'/></interface>"
)


@dataclass(frozen=True)
class Listed:
    """What ansible-inventory printed."""

    document: dict[str, Any]
    complaints: str

    @property
    def hosts(self) -> dict[str, dict[str, Any]]:
        return dict(self.document.get("_meta", {}).get("hostvars", {}))

    def group(self, name: str) -> list[str]:
        return sorted(self.document.get(name, {}).get("hosts", []))


Lister = Callable[..., Listed]


@pytest.fixture(scope="module")
def web(alpha: Host, beta: Host, tiny: Tiny) -> Iterator[Guest]:
    """On alpha web runs, with an agent and an address; on beta web and db are off."""
    with tempfile.TemporaryDirectory(prefix="inventory-") as directory, opened(alpha) as here, opened(beta) as there:
        stage(alpha, tiny)
        console = Console(Path(directory, "console"))
        document = domain_xml("web", tiny, console.path, devices=CARD).replace("<memory", f"{KEPT}<memory", 1)
        domains = [here.defineXML(document)]
        domains[0].create()
        domains[0].setAutostart(1)
        domains += [
            there.defineXML(domain_xml(name, tiny, Path(directory, name), devices="<graphics type='vnc' passwd='x7'/>"))
            for name in ("web", "db")
        ]
        console.wait_for("GUEST-READY")
        until = time.monotonic() + 60
        while not any(lease["mac"] == MAC for lease in here.networkLookupByName("default").DHCPLeases()):
            assert time.monotonic() < until, "the guest gets no lease"
            time.sleep(0.1)
        yield Guest("web", console)
        for domain in domains:
            take_away(domain)


@pytest.fixture
def listed(web: Guest, alpha: Host, beta: Host, ansible: Ansible, tmp_path: Path) -> Lister:
    """Lists the inventory that a file with these options makes; both hosts go without saying."""

    def run(
        text: str = "", *arguments: str, name: str = "lab.kvm.yml", check: bool = True, **environment: str
    ) -> Listed:
        both = "" if "uris:" in text else f"uris: ['{alpha.uri}', '{beta.uri}']\n"
        (tmp_path / name).write_text(f"plugin: virtstack.core.kvm\n{both}{text}\n")
        output = tmp_path / "listed.json"
        environment.setdefault("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "true")
        arguments = ("-i", tmp_path / name, "--list", "--output", output)
        played = ansible.run("ansible-inventory", *arguments, **environment)
        assert "Traceback" not in played.output
        assert not check or played.returncode == 0, played.output
        document = json.loads(output.read_text(), object_hook=_plain) if check else {}
        # Ansible breaks its messages into lines.
        return Listed(document, " ".join(played.output.split()))

    return run


def _plain(found: dict[str, Any]) -> Any:
    return found["__ansible_unsafe"] if found.keys() == {"__ansible_unsafe"} else found


def test_machines_of_all_hosts_are_hosts(listed: Lister, alpha: Host) -> None:
    inventory = listed()

    assert inventory.hosts.keys() == {"web.alpha", "web.beta", "db.beta"}
    web = inventory.hosts["web.alpha"]
    assert web["ansible_host"].startswith("192.168.122.")
    assert web["virtstack_uri"] == alpha.uri
    assert web["virtstack_labels"] == {"app": "shop"}
    assert web["virtstack_networks"]["lan"] == {
        "network": "default",
        "mac": MAC,
        "ips": web["virtstack_networks"]["lan"]["ips"],
        "device": "eth0",
    }
    assert web["virtstack_agent_connected"]
    assert web["virtstack_guest_os"]["name"].startswith("Virtlab Tiny")
    assert (web["virtstack_autostart"], web["virtstack_persistent"]) == (True, True)
    off = inventory.hosts["db.beta"]
    assert (off["virtstack_status"], off["virtstack_memory"]) == ("Stopped", "128Mi")
    assert "ansible_host" not in off
    assert "x7" not in json.dumps(inventory.document)


def test_groups_are_made_of_hosts_states_systems_and_labels(listed: Lister) -> None:
    inventory = listed("group_by: [node, status, os, architecture]\ngroup_by_labels: [app]\ngroup_prefix: v_")

    assert inventory.group("v_node_beta") == ["db.beta", "web.beta"]
    assert inventory.group("v_status_running") == ["web.alpha"]
    assert inventory.group("v_os_virtlab") == ["web.alpha"]
    assert inventory.group("v_label_app_shop") == ["web.alpha"]
    assert len(inventory.group("v_architecture_x86_64")) == 3


def test_the_constructed_options_see_the_variables(listed: Lister) -> None:
    inventory = listed(
        """
filters: [virtstack_name != 'db']
hostnames: [virtstack_labels.app ~ '-' ~ virtstack_name, virtstack_name]
compose: {where: virtstack_node}
keyed_groups: [{key: virtstack_labels.app, prefix: app}]
groups: {idle: virtstack_status == 'Stopped'}
"""
    )

    assert inventory.hosts.keys() == {"shop-web", "web"}
    assert inventory.hosts["web"]["where"] == "beta"
    assert inventory.group("app_shop") == ["shop-web"]
    assert inventory.group("idle") == ["web"]


@pytest.mark.parametrize("source", ["agent", "lease", "arp"])
def test_each_source_finds_the_address(listed: Lister, source: str, alpha: Host, web: Guest) -> None:
    if source == "arp":
        # Only who has spoken with the host stands among its neighbours.
        with connect({"uri": alpha.uri}) as host:
            assert execute(Agent(host.domain("web")), "ping -c 1 192.168.122.1").returncode == 0
    inventory = listed(f"address: [{source}]\nagent_timeout: {30 if source == 'agent' else 0}")
    if source == "arp" and "cannot be looked into: internal error: wrong nlmsg len" in inventory.complaints:
        pytest.skip("libvirt cannot read the neighbours that this machine's kernel tells")

    assert inventory.hosts["web.alpha"]["ansible_host"].startswith("192.168.122."), inventory.complaints
    assert bool(inventory.hosts["web.alpha"]["virtstack_guest_os"]) is (source == "agent")


def test_one_variable_leads_into_the_guests(
    listed: Lister, ansible: Ansible, tmp_path: Path, alpha: Host, beta: Host
) -> None:
    listed("compose: {ansible_connection: \"'virtstack.core.kvm_agent'\"}\nfilters: [virtstack_status == 'Running']")
    arguments = ("-i", tmp_path / "lab.kvm.yml", "all", "-m", "ansible.builtin.raw", "-a", "hostname")
    played = ansible.run("ansible", *arguments)

    assert played.returncode == 0, played.output
    assert "web.alpha | CHANGED" in played.output


def test_data_of_the_hosts_is_never_templated(listed: Lister, ansible: Ansible, tmp_path: Path) -> None:
    assert listed().hosts["web.alpha"]["virtstack_annotations"] == {"note": TEMPLATE}
    debug = ("web.alpha", "-m", "ansible.builtin.debug", "-a", "var=virtstack_annotations")

    shown = ansible.run("ansible", "-i", tmp_path / "lab.kvm.yml", *debug).output
    assert TEMPLATE in shown
    assert "templated" not in shown


@pytest.fixture
def dumb() -> Iterator[str]:
    """The URI of a libvirt that takes connections and never says a word."""
    with tempfile.TemporaryDirectory(prefix="dumb-") as directory, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{directory}/socket")
        server.listen()
        taken: list[socket.socket] = []
        threading.Thread(target=lambda: taken.append(server.accept()[0]), daemon=True).start()
        yield f"qemu+unix:///system?socket={directory}/socket"
        for one in taken:
            one.close()


def test_a_host_that_never_answers_is_left_out_with_a_warning(listed: Lister, alpha: Host, dumb: str) -> None:
    started = time.monotonic()
    inventory = listed(f"uris: [{{uri: '{alpha.uri}', name: one}}, '{dumb}']\ntimeout: 5")

    assert inventory.hosts.keys() == {"web.one"}
    assert f"libvirt at {dumb} did not answer within 5 seconds" in inventory.complaints
    assert "Its machines are left out." in inventory.complaints
    assert time.monotonic() - started < 60


def test_a_host_that_is_not_there_is_an_error_when_strict_or_alone(listed: Lister, alpha: Host) -> None:
    nowhere = "qemu+unix:///system?socket=/nowhere"

    assert "Cannot connect to libvirt at" in listed(f"uris: ['{alpha.uri}', '{nowhere}']").complaints
    for text in (f"uris: ['{alpha.uri}', '{nowhere}']\nstrict: true", f"uris: ['{nowhere}']"):
        complaints = listed(text, check=False).complaints
        assert "Cannot connect to libvirt at qemu+unix:///system?socket=/nowhere" in complaints
        assert "Its machines are left out" not in complaints


def test_an_agent_that_is_stuck_costs_no_more_than_its_time(
    listed: Lister, alpha: Host, guest: Callable[..., Guest]
) -> None:
    guest(alpha, "stuck")
    with connect({"uri": alpha.uri}) as host:
        agent = Agent(host.domain("stuck"))
        execute(agent, "setsid sh -c 'sleep 0.5; killall -STOP qemu-ga' </dev/null >/dev/null 2>&1 &")
    time.sleep(2)
    inventory = listed(f"uris: ['{alpha.uri}']\nagent_timeout: 3\nfilters: [virtstack_status == 'Running']")

    assert inventory.hosts.keys() == {"web.alpha", "stuck.alpha"}
    assert "On alpha, these did not answer by their guest agents within 3 seconds: stuck." in inventory.complaints
    assert inventory.hosts["web.alpha"]["virtstack_guest_os"]


def test_what_is_cached_asks_nobody_and_what_is_incomplete_is_not(listed: Lister, tmp_path: Path, alpha: Host) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    text = f"cache: true\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: {tmp_path}/cache"
    broken = f"{text}\nuris: ['{alpha.uri}', 'qemu+unix:///system?socket=/nowhere']"
    listed(broken)
    assert os.listdir(tmp_path / "cache") == []
    first = listed(text)
    # Nobody could be asked now.
    again = listed(text, ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="true", PYTHONPATH=_without_libvirt(tmp_path))

    assert again.document == first.document
    assert len(os.listdir(tmp_path / "cache")) == 1


def _without_libvirt(tmp_path: Path) -> str:
    """A path on which libvirt-python is broken."""
    place = tmp_path / "broken"
    place.mkdir(exist_ok=True)
    (place / "libvirt.py").write_text("raise ImportError('it is not there')\n")
    return os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])


def test_without_libvirt_it_says_what_to_install(listed: Lister, tmp_path: Path) -> None:
    complaints = listed(check=False, PYTHONPATH=_without_libvirt(tmp_path)).complaints

    assert "Install libvirt-python" in complaints


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("uris: [{url: qemu:///system}]", "is neither a libvirt URI nor a dictionary of uri and name"),
        ("uris: []", "uris: names no host"),
        ("address: [telepathy]", "telepathy"),
        ("uris: ['test:///default', 'test:///default']\nagent_timeout: 0", "give each a name of its own"),
        ("filters: [virtstack_labels.app == 'shop']\nstrict: true", "cannot be evaluated for"),
    ],
)
def test_bad_options_are_errors_in_words(listed: Lister, text: str, complaint: str) -> None:
    assert complaint in listed(text, check=False).complaints


@pytest.mark.parametrize("example", list(yaml.safe_load_all(plugin.EXAMPLES)), ids=json.dumps)
def test_every_example_makes_an_inventory(listed: Lister, alpha: Host, beta: Host, example: dict[str, Any]) -> None:
    options = {key: value for key, value in example.items() if key not in ("plugin", "uris")}
    hosts = [{**place, "uri": host.uri} for place, host in zip(example.get("uris", [{}]), (alpha, beta), strict=False)]
    text = yaml.safe_dump({**options, "uris": hosts})

    assert "_meta" in listed(text, name="prod.kvm.yml").document
