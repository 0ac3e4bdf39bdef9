"""Runs the benchmarks: see tests/bench/run."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import figures
import fleet
import kvm_fleet
import kvm_listing
import kvm_noop
import kvm_upload
import listing
import noop
import real_migration
import real_together
import transfer
from kvm_stage import KvmStage
from real_stage import RealStage
from stage import Stage

# The inventory comes last: its machines would stand in the way of the others.
CLUSTER = {"noop": noop.bench, "fleet": fleet.bench, "transfer": transfer.bench, "inventory": listing.bench}
KVM = {
    "kvm-noop": kvm_noop.bench,
    "kvm-fleet": kvm_fleet.bench,
    "kvm-upload": kvm_upload.bench,
    "kvm-inventory": kvm_listing.bench,
}
REAL = {"lab-migration": real_migration.bench, "lab-together": real_together.bench}
# The parts of the document: the head of each, what is measured, and what it is measured on.
PARTS = {figures.CLUSTER: (CLUSTER, Stage), figures.KVM: (KVM, KvmStage), figures.REAL: (REAL, RealStage)}
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def main() -> None:
    known = [*CLUSTER, *KVM, *REAL]
    parser = argparse.ArgumentParser(description="This collection beside its peers.")
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs, not how fast")
    parser.add_argument("--write", action="store_true", help=f"keep the result in {DOCUMENT.name}")
    parser.add_argument("--work", type=Path, required=True, help="a directory for what is made on the way")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="whose Ansible to measure")
    parser.add_argument("--lab-python", type=Path, default=Path(sys.executable), help="what to run the lab with")
    arguments = parser.parse_args()
    unknown = set(arguments.benches) - {*known}
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    for head, (benches, stage_kind) in PARTS.items():
        reports = []
        for name, bench in benches.items():
            if arguments.benches and name not in arguments.benches:
                continue
            print(f"==> {name}", flush=True)
            shutil.rmtree(arguments.work / name, ignore_errors=True)
            stage = stage_kind(arguments.work / name, arguments.python, arguments.lab_python)
            if lacking := stage.lacking():
                print(f"left out: {lacking}", flush=True)
                continue
            with stage:
                reports.append(bench(stage, arguments.quick))
            print(reports[-1].markdown(), flush=True)
        if arguments.write and reports:
            part = figures.part(head, reports, versions(arguments.python))
            DOCUMENT.write_text(figures.document(DOCUMENT.read_text() if DOCUMENT.exists() else "", part))
            print(f"written to {DOCUMENT}")


def versions(python: Path) -> str:
    """What was measured with."""
    script = """
import sys
from importlib.metadata import PackageNotFoundError, version

from ansible.release import __version__

told = [f"Python {sys.version.split()[0]}", f"ansible-core {__version__}"]
for package in ("kubernetes", "libvirt-python"):
    try:
        told.append(f"{package} {version(package)}")
    except PackageNotFoundError:
        pass
print(", ".join(told))
"""
    told = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    listed = subprocess.run(
        [python.with_name("ansible-galaxy"), "collection", "list"], capture_output=True, text=True, check=False
    ).stdout
    peers = [
        " ".join(line.split()[:2])
        for line in listed.splitlines()
        if line.startswith(("kubevirt.core", "kubernetes.core", "community.libvirt"))
    ]
    return ", ".join([told, *sorted(set(peers))])


if __name__ == "__main__":
    main()
