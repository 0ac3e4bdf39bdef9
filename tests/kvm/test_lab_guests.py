"""A lab whose nodes are KVM hosts: machines that are declared in it are QEMU guests that boot, move, and end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from guests import Console, MovedConsole
from inside import ask_guest, domain_of, until
from labs import Lab
from playing import Ansible
from virtlab.hosts.fleet import Hosts
from virtlab.hosts.processes import Process

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")

Object = dict[str, Any]

KUBEVIRT = "/apis/kubevirt.io/v1/namespaces/guests"
ACTIONS = "/apis/subresources.kubevirt.io/v1/namespaces/guests/virtualmachineinstances"
MERGE = "application/merge-patch+json"


def get(lab: Lab, kind: str, name: str) -> Object:
    found: Object = json.loads(lab.ask("GET", f"{KUBEVIRT}/{kind}/{name}"))
    return found


def instance(lab: Lab, name: str) -> Object:
    return get(lab, "virtualmachineinstances", name)


def console(lab: Lab, name: str) -> Console:
    return Console(lab.directory / "guests" / f"guests_{name}" / "console.log")


def moved(lab: Lab) -> Console:
    """That of the machine C(one), which moves to and fro here."""
    return MovedConsole(console(lab, "one").path, lambda: domain(lab, "one"))


def domain(lab: Lab, name: str) -> Any:
    return domain_of(lab, "guests", name)


def in_guest(lab: Lab, name: str, command: str) -> str:
    return ask_guest(domain(lab, name), command)


def connected(lab: Lab, name: str) -> Object:
    """The instance, once its agent is connected and has told an address."""

    def seen() -> Object | None:
        try:
            vmi = instance(lab, name)
        except OSError:  # it is being started again
            return None
        conditions = {item["type"]: item["status"] for item in vmi["status"].get("conditions") or ()}
        told = (vmi["status"].get("interfaces") or [{}])[0].get("interfaceName")
        return vmi if conditions.get("AgentConnected") == "True" and told else None

    found: Object = until(seen, f"{name} has an agent")
    return found


DECLARED = """
- hosts: localhost
  gather_facts: false
  tasks:
    - virtstack.core.namespace: {name: guests}
    - virtstack.core.vm:
        name: one
        namespace: guests
        memory: 1Gi
        disks: [{name: root, container_disk: quay.io/virtlab/tiny:latest}]
        interfaces: [{name: default, network: pod}]
        cloud_init: {user_config: {hostname: one}}
        run_strategy: Always
        definition: {spec: {template: {spec: "{{ rest }}"}}}
        wait: true
"""
BY_AGENT = {"qemuGuestAgent": {"users": ["root"]}}
CREDENTIALS = [
    {"sshPublicKey": {"source": {"secret": {"secretName": "keys"}}, "propagationMethod": BY_AGENT}},
    {"userPassword": {"source": {"secret": {"secretName": "words"}}, "propagationMethod": {"qemuGuestAgent": {}}}},
]


@pytest.fixture(scope="module")
def declared(lab: Lab, ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A machine called C(one) that boots the tiny disk, declared by the collection's module."""
    playbook = tmp_path_factory.mktemp("play") / "vm.yml"
    playbook.write_text(DECLARED)
    cpu = {"cores": 1, "sockets": 1, "threads": 1}
    rest = {"terminationGracePeriodSeconds": 20, "accessCredentials": CREDENTIALS, "domain": {"cpu": cpu}}
    played = ansible.playbook(playbook, lab, rest=rest)
    assert played.returncode == 0, played.output
    return lab


@pytest.fixture
def one(declared: Lab) -> Lab:
    """The lab, once that machine's guest runs and its agent answers."""
    connected(declared, "one")
    return declared


def test_a_declared_machine_is_a_guest_that_boots(one: Lab) -> None:
    said = console(one, "one")
    said.wait_for("GUEST-SEED one")
    address = said.wait_for(r"NET-UP eth0 (\S+)\s")[1]
    said.wait_for_ticks(5)
    said.assert_contiguous()
    status = connected(one, "one")["status"]
    assert status["guestOSInfo"]["id"] == "virtlab-tiny"
    assert status["interfaces"][0]["ipAddress"] == address
    assert in_guest(one, "one", "hostname") == "one\n"


def test_a_live_migration_loses_no_tick(one: Lab) -> None:
    before = instance(one, "one")["status"]
    migration = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration"}
    migration |= {"metadata": {"name": "away"}, "spec": {"vmiName": "one"}}
    one.ask("POST", f"{KUBEVIRT}/virtualmachineinstancemigrations", migration)

    def over() -> Object | None:
        found = get(one, "virtualmachineinstancemigrations", "away")
        return found if found.get("status", {}).get("phase") in ("Succeeded", "Failed") else None

    there = until(over, "the migration is over")
    assert there["status"]["phase"] == "Succeeded", there["status"]
    after = instance(one, "one")["status"]
    assert after["nodeName"] != before["nodeName"]
    assert after["interfaces"][0]["ipAddress"] == before["interfaces"][0]["ipAddress"]
    moved(one).wait_for_ticks(5)
    ticks = moved(one).assert_contiguous()
    figures = until(
        lambda: {
            name.removeprefix("virtlab/"): int(value)
            for name, value in (
                get(one, "virtualmachineinstancemigrations", "away")["metadata"].get("annotations") or {}
            ).items()
            if name.startswith("virtlab/")
        },
        "the migration's figures",
    )
    print(f"downtime {figures['downtime-milliseconds']} ms of {figures['total-milliseconds']} ms; {len(ticks)} ticks")
    assert 0 < figures["downtime-milliseconds"] <= figures["total-milliseconds"]
    assert in_guest(one, "one", "hostname") == "one\n"


POLICIES = "/apis/migrations.kubevirt.io/v1alpha1/migrationpolicies"
MOVES = f"{KUBEVIRT}/virtualmachineinstancemigrations"


@pytest.fixture
def slow(one: Lab) -> Iterator[Callable[..., None]]:
    """Let migrations take a MiB a second, with what else a policy may say, from then on in this test."""

    def rule(**more: Any) -> None:
        kind = {
            "apiVersion": "migrations.kubevirt.io/v1alpha1",
            "kind": "MigrationPolicy",
            "metadata": {"name": "slow"},
        }
        labels = {"kubernetes.io/metadata.name": "guests"}
        spec = {"selectors": {"namespaceSelector": labels}, "bandwidthPerMigration": "1Mi", **more}
        one.ask("POST", POLICIES, {**kind, "spec": spec})

    yield rule
    one.ask("DELETE", f"{POLICIES}/slow")


def send_off(lab: Lab, job: str) -> None:
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration"}
    lab.ask("POST", MOVES, {**kind, "metadata": {"name": job}, "spec": {"vmiName": "one"}})


def phase_of(lab: Lab, job: str) -> str:
    return str(get(lab, "virtualmachineinstancemigrations", job).get("status", {}).get("phase"))


def stayed(lab: Lab, before: str) -> None:
    """The guest is where it was, and goes on."""
    assert instance(lab, "one")["status"]["nodeName"] == before
    until(lambda: domain(lab, "one").jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE, "the hypervisor has given it up")
    moved(lab).wait_for_ticks(3)
    moved(lab).assert_contiguous()


def test_a_migration_that_is_called_off_leaves_the_guest_where_it_is(one: Lab, slow: Callable[..., None]) -> None:
    slow()
    before = instance(one, "one")["status"]["nodeName"]
    send_off(one, "off")
    until(lambda: phase_of(one, "off") == "Running", "it is under way")
    one.ask("DELETE", f"{MOVES}/off")

    def ended() -> Object | None:
        state: Object = instance(one, "one")["status"]["migrationState"]
        return state if state.get("endTimestamp") and state.get("abortStatus") else None

    assert until(ended, "it is called off")["abortStatus"] == "Succeeded"
    stayed(one, before)


def test_a_migration_that_takes_too_long_is_given_up(one: Lab, slow: Callable[..., None]) -> None:
    slow(completionTimeoutPerGiB=2)
    before = instance(one, "one")["status"]["nodeName"]
    send_off(one, "late")
    until(lambda: phase_of(one, "late") == "Failed", "it is given up")
    why = instance(one, "one")["status"]["migrationState"]["failureReason"]
    assert why == "Live migration is not completed after 2 seconds and has been aborted"
    stayed(one, before)


MOVE = """
- hosts: localhost
  gather_facts: false
  tasks:
    - virtstack.core.vm_migration: {name: one, namespace: guests, node: NODE, wait: true}
"""


def test_a_playbook_that_is_killed_in_a_migration_is_followed_by_the_next_one(
    one: Lab, ansible: Ansible, tmp_path: Path
) -> None:
    policies = "/apis/migrations.kubevirt.io/v1alpha1/migrationpolicies"
    policy = {"apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": "calm"}}
    labels = {"kubernetes.io/metadata.name": "guests"}
    spec = {"selectors": {"namespaceSelector": labels}, "bandwidthPerMigration": "8Mi"}
    one.ask("POST", policies, {**policy, "spec": spec})
    before = instance(one, "one")["status"]["nodeName"]
    other = next(name for name in ("worker-0", "worker-1", "worker-2") if name != before)
    playbook = tmp_path / "move.yml"
    playbook.write_text(MOVE.replace("NODE", other))

    def phases() -> list[str]:
        listed = json.loads(one.ask("GET", f"{KUBEVIRT}/virtualmachineinstancemigrations"))["items"]
        return [(item.get("status") or {}).get("phase", "") for item in listed]

    ended = len(phases())
    with ansible.begun(playbook, K8S_AUTH_KUBECONFIG=str(one.kubeconfig)) as begun:
        until(lambda: "Running" in phases(), "it moves")
        begun.kill()
    one.ask("DELETE", f"{policies}/calm")
    played = ansible.playbook(playbook, one)
    assert played.returncode == 0, played.output
    assert len(phases()) == ended + 1
    assert instance(one, "one")["status"]["nodeName"] == other
    moved(one).wait_for_ticks(3)
    moved(one).assert_contiguous()


def test_a_paused_guest_does_not_count(one: Lab) -> None:
    moved(one).wait_for_ticks(1)
    one.ask("PUT", f"{ACTIONS}/one/pause", {})
    assert domain(one, "one").state()[0] == libvirt.VIR_DOMAIN_PAUSED
    assert get(one, "virtualmachines", "one")["status"]["printableStatus"] == "Paused"
    stood = len(console(one, "one").ticks())
    time.sleep(1)
    assert len(console(one, "one").ticks()) == stood
    one.ask("PUT", f"{ACTIONS}/one/unpause", {})
    moved(one).wait_for_ticks(3)
    moved(one).assert_contiguous()


def test_the_agent_tells_of_the_guest_itself(one: Lab) -> None:
    told = json.loads(one.ask("GET", f"{ACTIONS}/one/guestosinfo"))
    assert told["hostname"] == "one"
    assert "guest-exec" in {item["name"] for item in told["supportedCommands"] if item["enabled"]}
    systems = json.loads(one.ask("GET", f"{ACTIONS}/one/filesystemlist"))["items"]
    assert [(item["mountPoint"], item["fileSystemType"]) for item in systems if item["totalBytes"]] == [
        ("/data", "ext4")
    ]


def test_keys_and_passwords_reach_a_running_guest(one: Lab) -> None:
    secrets = "/api/v1/namespaces/guests/secrets"
    kinds = {"apiVersion": "v1", "kind": "Secret"}
    one.ask("POST", secrets, {**kinds, "metadata": {"name": "keys"}, "stringData": {"k": "ssh-ed25519 AAAA me"}})
    one.ask("POST", secrets, {**kinds, "metadata": {"name": "words"}, "stringData": {"root": "s3cret"}})

    def synchronized() -> bool:
        conditions = {item["type"]: item for item in instance(one, "one")["status"]["conditions"]}
        return (conditions.get("AccessCredentialsSynchronized") or {}).get("status") == "True"

    until(synchronized, "the credentials are set")
    assert in_guest(one, "one", "cat /root/.ssh/authorized_keys").strip() == "ssh-ed25519 AAAA me"
    assert "root:$6$" in in_guest(one, "one", "cat /etc/shadow")
    one.ask("PATCH", f"{secrets}/keys", {"stringData": {"k": "ssh-ed25519 BBBB me"}}, MERGE)
    until(lambda: "BBBB" in in_guest(one, "one", "cat /root/.ssh/authorized_keys"), "the new key is there")


def test_a_running_guest_gets_a_processor_and_memory_by_a_migration(one: Lab) -> None:
    before = instance(one, "one")["status"]["nodeName"]
    had = memory_of(one, "one")

    def change(sockets: int, memory: str) -> None:
        domain = {"cpu": {"sockets": sockets}, "memory": {"guest": memory}}
        body = {"spec": {"template": {"spec": {"domain": domain}}}}
        one.ask("PATCH", f"{KUBEVIRT}/virtualmachines/one", body, MERGE)
        until(
            lambda: instance(one, "one")["status"]["memory"]["guestCurrent"] == memory, f"the status tells of {memory}"
        )

    change(2, "1280Mi")
    assert instance(one, "one")["status"]["currentCPUTopology"]["sockets"] == 2
    assert instance(one, "one")["status"]["nodeName"] != before
    until(lambda: in_guest(one, "one", "nproc").strip() == "2", "the guest has two")
    until(lambda: memory_of(one, "one") - had == 256 << 10, "the guest has 256 MiB more")
    change(2, "1Gi")
    assert memory_of(one, "one") == had
    conditions = get(one, "virtualmachines", "one")["status"]["conditions"]
    assert "RestartRequired" not in {item["type"] for item in conditions}
    moved(one).assert_contiguous()


def memory_of(lab: Lab, name: str) -> int:
    """KiB that the guest's kernel has."""
    return int(in_guest(lab, name, "sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))


def test_a_guest_shows_its_display(one: Lab) -> None:
    assert one.ask("GET", f"{ACTIONS}/one/vnc/screenshot").startswith(b"\x89PNG")


HOT_PLUG = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    virtstack.core.vm_disk: {vm: one, namespace: guests, name: data, wait: true}
    virtstack.core.vm_interface: {vm: one, namespace: guests, name: lan, migrate: true, wait: true}
  tasks:
    - virtstack.core.network_attachment: {name: lan, namespace: guests, type: layer2}
    - virtstack.core.vm_disk: {blank: true, size: 64Mi}
      when: plugged
    - virtstack.core.vm_interface: {network: lan}
      when: plugged
    - virtstack.core.vm_interface: {state: absent}
      when: not plugged
    - virtstack.core.vm_disk: {state: absent, delete_volume: one-data}
      when: not plugged
"""


def test_a_disk_and_an_interface_come_and_go_while_the_guest_runs(one: Lab, ansible: Ansible, tmp_path: Path) -> None:
    playbook = tmp_path / "plug.yml"
    playbook.write_text(HOT_PLUG)

    def play(*, plugged: bool) -> None:
        played = ansible.playbook(playbook, one, plugged=plugged)
        assert played.returncode == 0, played.output
        until(lambda: ("sda" in in_guest(one, "one", "cat /proc/partitions")) is plugged, "the disk")
        until(lambda: ("eth1" in in_guest(one, "one", "ls /sys/class/net")) is plugged, "the interface")

    play(plugged=True)
    address = console(one, "one").wait_for(r"NET-UP eth1 (\S+)\s")[1]
    until(lambda: instance(one, "one")["status"]["interfaces"][1].get("ipAddress") == address, "its address")
    play(plugged=False)
    moved(one).assert_contiguous()


def test_a_cordoned_node_is_drained_by_a_migration(one: Lab) -> None:
    node = instance(one, "one")["status"]["nodeName"]
    pods = json.loads(one.ask("GET", "/api/v1/namespaces/guests/pods"))["items"]
    pod = next(
        item["metadata"]["name"]
        for item in pods
        if item["spec"].get("nodeName") == node and item["metadata"]["labels"].get("vm.kubevirt.io/name") == "one"
    )
    one.ask("PATCH", f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}}, MERGE)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "guests"}}
    try:
        one.ask("POST", f"/api/v1/namespaces/guests/pods/{pod}/eviction", eviction)
    except OSError as answer:  # virt-api lets the guest move first, and says so
        assert "429" in str(answer)
    until(lambda: instance(one, "one")["status"]["nodeName"] != node, "the guest is elsewhere")
    one.ask("PATCH", f"/api/v1/nodes/{node}", {"spec": {"unschedulable": None}}, MERGE)
    moved(one).wait_for_ticks(3)
    moved(one).assert_contiguous()


def messages(lab: Lab, uid: str) -> set[str]:
    """Of the events about an object."""
    events = json.loads(lab.ask("GET", "/api/v1/namespaces/guests/events"))["items"]
    return {event["message"] for event in events if event["involvedObject"]["uid"] == uid}


def started_again(lab: Lab, before: str) -> None:
    """Wait until another instance than the one of this UID runs."""

    def seen() -> bool:
        try:
            vmi = instance(lab, "one")
        except OSError:  # between the two there is none
            return False
        return vmi["metadata"]["uid"] != before and vmi["status"].get("phase") == "Running"

    until(seen, "another instance runs")
    console(lab, "one").wait_for("GUEST-READY")


def test_a_node_whose_libvirtd_died_is_reached_again_and_its_guest_lives_on(one: Lab) -> None:
    node = Hosts(one.directory / "hosts")[instance(one, "one")["status"]["nodeName"]]
    node.kill_daemon()
    moved(one).wait_for_ticks(2)
    node.start_daemon()

    def paused() -> bool:
        try:
            one.ask("PUT", f"{ACTIONS}/one/pause", {})
        except OSError:  # not reached yet
            return False
        return True

    until(paused, "the guest does as it is told")
    one.ask("PUT", f"{ACTIONS}/one/unpause", {})
    moved(one).wait_for_ticks(2)
    moved(one).assert_contiguous()


def test_a_guest_that_powers_itself_off_shows_it_and_is_started_again(one: Lab) -> None:
    first = instance(one, "one")["metadata"]["uid"]
    in_guest(one, "one", "(sleep 0.2; poweroff) >/dev/null 2>&1 &")
    until(lambda: "The VirtualMachineInstance was shut down." in messages(one, first), "the instance says so")
    started_again(one, first)


def test_a_guest_whose_process_dies_shows_it_and_is_started_again(one: Lab) -> None:
    first = instance(one, "one")["metadata"]["uid"]
    domain(one, "one").destroy()
    until(lambda: "The VirtualMachineInstance crashed." in messages(one, first), "the instance says so")
    started_again(one, first)


@pytest.fixture(scope="module")
def own_lab(declared: Lab) -> Iterator[Lab]:
    """A lab that is nobody else's, as others would not like to lose a node or to be stopped, with that machine."""
    declared_there = get(declared, "virtualmachines", "one")
    spec = declared_there["spec"]["template"]["spec"]
    template = {"spec": {key: spec[key] for key in ("domain", "networks", "volumes")}}
    kinds = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "one"}}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "guests"}}
    with tempfile.TemporaryDirectory(prefix="own-") as directory:
        own = Lab(Path(directory) / "lab")
        own.command("start", "--installed", "--guests", "real", "--time-factor", "0", "--quiet")
        own.ask("POST", "/api/v1/namespaces", space)
        own.ask(
            "POST", f"{KUBEVIRT}/virtualmachines", {**kinds, "spec": {"runStrategy": "Always", "template": template}}
        )
        yield own
        own.command("stop")


def runs(lab: Lab, *, off: str = "") -> bool:
    """Does the machine C(one) run, on another node than C(off)?"""
    try:
        status = instance(lab, "one")["status"]
    except OSError:  # not there yet, or between two
        return False
    return bool(status["phase"] == "Running" and status["nodeName"] != off)


def test_the_guest_of_a_crashed_node_runs_elsewhere_once_that_is_out_of_service(own_lab: Lab) -> None:
    until(lambda: runs(own_lab), "the machine runs")
    node = instance(own_lab, "one")["status"]["nodeName"]
    place = f"/api/v1/nodes/{node}"

    def ready() -> str:
        conditions = json.loads(own_lab.ask("GET", place))["status"]["conditions"]
        return str(next(item["status"] for item in conditions if item["type"] == "Ready"))

    own_lab.command("node", "crash", node)
    until(lambda: ready() == "Unknown", "the node is not ready")
    assert f"{node} off\n" in own_lab.command("node", "list")
    assert instance(own_lab, "one")["status"]["nodeName"] == node
    taints = json.loads(own_lab.ask("GET", place))["spec"]["taints"]
    assert {"node.kubernetes.io/unreachable"} == {taint["key"] for taint in taints}
    gone = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
    own_lab.ask("PATCH", place, {"spec": {"taints": [*taints, gone]}}, MERGE)
    until(lambda: runs(own_lab, off=node), "the machine runs elsewhere")
    own_lab.command("node", "start", node)
    until(lambda: ready() == "True", "the node is ready again")
    own_lab.ask("PATCH", place, {"spec": {"taints": None}}, MERGE)
    migration = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceMigration",
        "metadata": {"name": "back"},
        "spec": {"vmiName": "one", "addedNodeSelector": {"kubernetes.io/hostname": node}},
    }
    own_lab.ask("POST", f"{KUBEVIRT}/virtualmachineinstancemigrations", migration)
    until(lambda: instance(own_lab, "one")["status"]["nodeName"] == node, "the guest moved back")


def test_stopping_leaves_no_process_and_what_ran_comes_back(own_lab: Lab) -> None:
    until(lambda: runs(own_lab), "the machine runs")
    stop_and_look(own_lab)
    own_lab.command("start", "--quiet")
    until(lambda: runs(own_lab), "the machine is started again")


def test_stopping_leaves_no_process_of_a_lab_that_was_killed(own_lab: Lab) -> None:
    until(lambda: runs(own_lab), "the machine runs")
    os.kill(json.loads(own_lab.command("status", "--json"))["pid"], signal.SIGKILL)
    stop_and_look(own_lab)


def stop_and_look(lab: Lab) -> None:
    """Stop a lab with a guest that runs; nothing of it may be left."""
    place = str(lab.directory)
    found = {pid: line for pid, line in processes().items() if place in line}
    assert any("qemu" in line for line in found.values())
    hub = Process.read(lab.directory / "hosts" / "hub.json")
    assert hub is not None
    networks = {network(pid) for pid in (*found, hub.pid)} - {network(os.getpid()), ""}
    lab.command("stop")
    left = {pid: line for pid, line in processes().items() if place in line or network(pid) in networks}
    assert left == {}
    assert place not in Path("/proc/self/mounts").read_text()


def processes() -> dict[int, str]:
    """The command lines of all processes."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found[int(path.parent.name)] = path.read_text(errors="replace")
    return found


def network(pid: int) -> str:
    """Which network a process is in; empty where it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""
