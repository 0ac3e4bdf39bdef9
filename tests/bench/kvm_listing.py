"""The inventory of a KVM host with two hundred machines, beside this machine and some way off."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

from figures import Figure, Report
from kvm_stage import KvmStage, domain
from programs import Measured, best, hot_spots

WAYS = {"virtstack.core": "virtstack.core.kvm", "community.libvirt": "community.libvirt.libvirt"}
FILES = {"virtstack.core": "bench.kvm.yml", "community.libvirt": "bench.libvirt.yml"}
RATIO = 1 / 4
TIMES = 6  # runs are short, and others may share the machine
ONE_WAY = 1.0  # milliseconds: a host in another building


def bench(stage: KvmStage, quick: bool) -> Report:
    count, running = (20, 1) if quick else (200, 6)
    names = [f"vm-{number:03d}" for number in range(count)]
    with stage.opened() as host:
        for name in names:
            host.defineXML(domain(name))
    columns = ["host", "collection", "`ansible-inventory --list`", "CPU", "peak memory", "in a playbook"]
    report = Report(f"KVM: inventory of a host with {count} machines", columns)
    _row(stage, report, "on this machine", stage.uri, count, quick)
    with stage.away(ONE_WAY) as uri:
        _row(stage, report, f"{ONE_WAY:g} ms away", uri, count, quick)
    busy = f"on this machine, {running} running, with agents"
    if lacking := stage.start(*names[:running]):
        report.notes.append(f"{busy}: not measured, {lacking}")
    else:
        _row(stage, report, busy, stage.uri, count, quick)
    report.notes.append(
        "the way is simulated: a relay on this machine passes everything on late, in both directions. What is under"
        " `in a playbook` is what the inventory takes when Ansible is up: no start, no output. The bare calls are those"
        " of libvirt-python that every inventory needs, one after another: the list, the states, a document of each"
        " machine, and what each agent tells"
    )
    if report.short:
        profile = stage.work / "listing.prof"
        file = stage.work / FILES["virtstack.core"]
        file.write_text(f"plugin: virtstack.core.kvm\nuris: ['{stage.uri}']\n")
        stage.measure("ansible-inventory", "-i", file, "--list", "--output", stage.work / "ours.json", profile=profile)
        report.profile = hot_spots(profile)
    return report


def _bare(uri: str) -> float:
    """Seconds of libvirt's calls alone, and of nothing that is made of their answers."""
    import libvirt

    start = time.perf_counter()
    connection = libvirt.open(uri)
    domains = connection.listAllDomains()
    connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BLOCK)
    for machine in domains:
        document = machine.XMLDesc()
        if "state='connected'" in document:
            machine.guestInfo()
    seconds = time.perf_counter() - start
    connection.close()
    return seconds


def _seconds(run: Measured) -> float:
    return run.seconds


def _parsed(run: Measured) -> float:
    return float(run.output.rpartition("parsed in ")[2])


def _row(stage: KvmStage, report: Report, where: str, uri: str, count: int, quick: bool) -> None:
    spent: dict[str, Measured] = {}
    inside: dict[str, float] = {}
    for collection, plugin in WAYS.items():
        if not stage.has(collection):
            continue
        file, output = stage.work / FILES[collection], stage.work / f"{collection}.json"
        place = f"uris: ['{uri}']" if collection == "virtstack.core" else f"uri: '{uri}'"
        file.write_text(f"plugin: {plugin}\n{place}\n")
        arguments = ("-i", file, "--list", "--output", output)
        found = best(partial(stage.measure, "ansible-inventory", *arguments), _seconds, quick, TIMES)
        spent[collection] = found
        listed = len(json.loads(output.read_text())["_meta"]["hostvars"])
        if listed != count:
            raise SystemExit(f"{collection} listed {listed} machines of {count}:\n{found.output[-4000:]}")
        script = Path(__file__).with_name("parse.py")
        inside[collection] = _parsed(best(partial(stage.measure, "python", script, file), _parsed, quick, TIMES))
        took = [f"{found.seconds:.2f} s", f"{found.cpu:.2f} s", f"{found.peak:.0f} MiB"]
        report.rows.append([where, collection, *took, f"{inside[collection]:.3f} s"])
    bare = min(_bare(uri) for _number in range(1 if quick else TIMES))
    report.rows.append([where, "bare calls of libvirt", "", "", "", f"{bare:.3f} s"])
    for what, ours, theirs in (
        ("time", spent["virtstack.core"].seconds, getattr(spent.get("community.libvirt"), "seconds", None)),
        ("time in a playbook", inside["virtstack.core"], inside.get("community.libvirt")),
    ):
        ratio = ours / theirs if theirs else None
        report.figures.append(Figure(f"{where}: {what}, of community.libvirt.libvirt's", ratio, RATIO))
