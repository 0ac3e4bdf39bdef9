"""The files of hosts of both families, below a directory; nothing of the running system is touched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtstack.core.plugins.module_utils.kvm.host_plan import Release
from ansible_collections.virtstack.core.plugins.module_utils.kvm.host_setup import set_up_host
from ansible_collections.virtstack.core.plugins.module_utils.kvm.host_system import System, missing_packages, run
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Result, Task
from ansible_collections.virtstack.core.plugins.modules.kvm_host import SPEC
from virtlab.certificates import Authority

DEBIAN = "ID=debian\nVERSION_ID=12\n"
ROCKY = 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n'


class Root:
    """A system below a directory."""

    def __init__(self, place: Path, release: str, *daemons: str) -> None:
        self.place, self.warnings = place, list[str]()
        self.put("etc/os-release", release)
        for daemon in daemons:
            self.put(f"usr/sbin/{daemon}", "")

    def put(self, name: str, text: str) -> Path:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, name: str) -> str:
        return (self.place / name).read_text()

    def set_up(self, check_mode: bool = False, **options: Any) -> Result:
        given = {"packages": False, "uri": "test:///default", **options}
        validated = ArgumentSpecValidator(dict(SPEC.options)).validate(given)
        assert not validated.error_messages, validated.error_messages
        task = Task(validated.validated_parameters, check_mode, diff=True, warn=self.warnings.append)
        return set_up_host(task, System(self.place))


def certificates(place: Path, name: str) -> dict[str, str]:
    """What a host is given: files of an authority's."""
    (place / "pki").mkdir(exist_ok=True)
    authority = Authority(place / "pki")
    certificate, key = authority.machine_files(name, "127.0.0.1")
    return {"ca": str(authority.certificate_file), "certificate": str(certificate), "key": str(key)}


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever runs the tests may write below the directory; the owner of files is only set by a real root.
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.fchown", lambda *_arguments: None)


def test_a_monolithic_host_has_one_file_for_serving_and_listening(tmp_path: Path, as_root: None) -> None:
    host = Root(tmp_path, DEBIAN, "libvirtd")
    conf = host.put("etc/libvirt/libvirtd.conf", '#listen_tls = 0\n#auth_tcp = "sasl"\nmax_clients = 1\n')
    conf.chmod(0o640)
    made = host.set_up(tls=False, daemon_settings={"max_clients": 9}, qemu_settings={"user": "root"})
    assert (made["family"], made["daemons"], made["tls"]) == ("debian", "monolithic", False)
    assert made["files"] == ["/etc/libvirt/libvirtd.conf", "/etc/libvirt/qemu.conf"]
    wanted = '#listen_tls = 0\nlisten_tls = 0\n#auth_tcp = "sasl"\nmax_clients = 9\n'
    assert host.read("etc/libvirt/libvirtd.conf") == wanted
    assert conf.stat().st_mode & 0o777 == 0o640
    assert made["services"]["manager"] is None
    assert "systemd does not run this host" in host.warnings[-1]
    assert not host.set_up(tls=False, daemon_settings={"max_clients": 9})["changed"]


def test_a_modular_host_has_a_file_for_each(tmp_path: Path, as_root: None) -> None:
    host = Root(tmp_path, ROCKY, "libvirtd", "virtqemud", "virtproxyd")
    made = host.set_up(
        tls=False, tcp_without_authentication=True, daemon_settings={"max_clients": 9, "tls_port": "16515"}
    )
    assert (made["family"], made["daemons"]) == ("redhat", "modular")
    assert "max_clients = 9" in host.read("etc/libvirt/virtqemud.conf")
    assert set(host.read("etc/libvirt/virtproxyd.conf").splitlines()) == {
        'auth_tcp = "none"',
        "listen_tls = 0",
        "listen_tcp = 1",
        'tls_port = "16515"',
    }


def test_check_mode_writes_nothing_and_shows_everything_but_keys(tmp_path: Path, as_root: None) -> None:
    host = Root(tmp_path / "root", DEBIAN, "libvirtd")
    given = certificates(tmp_path, "gamma")
    told = host.set_up(check_mode=True, certificates=given, qemu_settings={"max_files": 7})
    assert told["changed"] and told["tls"]
    assert "/etc/pki/libvirt/private/serverkey.pem" in told["files"]
    assert "max_files = 7" in str(told["diff"]) and "-----BEGIN" not in str(told)
    assert not (tmp_path / "root" / "etc" / "libvirt").exists()
    made = host.set_up(certificates=given, qemu_settings={"max_files": 7})
    assert made["files"] == told["files"]
    key = tmp_path / "root" / "etc" / "pki" / "libvirt" / "private" / "serverkey.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert not host.set_up(certificates=given, qemu_settings={"max_files": 7})["changed"]


def test_certificates_come_as_files_or_as_texts_and_the_host_has_one_for_others(tmp_path: Path, as_root: None) -> None:
    files = certificates(tmp_path, "gamma")
    texts = {part: Path(file).read_text().rstrip() for part, file in files.items()}
    host = Root(tmp_path / "root", DEBIAN, "libvirtd")
    host.set_up(certificates=files)
    assert not host.set_up(certificates=texts)["changed"]
    both = {**texts, "client_certificate": texts["certificate"], "client_key": texts["key"]}
    made = host.set_up(certificates=both)
    assert made["files"] == ["/etc/pki/libvirt/clientcert.pem", "/etc/pki/libvirt/private/clientkey.pem"]
    key = tmp_path / "root" / "etc" / "pki" / "libvirt" / "private" / "clientkey.pem"
    assert key.stat().st_mode & 0o777 == 0o600 and not host.set_up(certificates=both)["changed"]


def test_certificates_that_nobody_believes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    mine, other = certificates(tmp_path, "gamma"), certificates(tmp_path / "other", "gamma")
    host = Root(tmp_path / "root", DEBIAN, "libvirtd")
    cases = [
        ({**mine, "ca": other["ca"]}, "whoever trusts ca does not believe certificate: "),
        ({**mine, "key": other["key"]}, "certificate and key cannot be used: KEY_VALUES_MISMATCH"),
        ({**mine, "client_certificate": mine["certificate"]}, "client_certificate and client_key belong together"),
        (
            {**mine, "client_certificate": other["certificate"], "client_key": other["key"]},
            "whoever trusts ca does not believe client_certificate: ",
        ),
        ({**mine, "key": str(host.put("etc/none", "nothing"))}, "is no PEM file"),
        ({**mine, "key": "/nowhere/key.pem"}, "Cannot read /nowhere/key.pem.*lookup"),
    ]
    for given, told in cases:
        with pytest.raises(Failure, match=told):
            host.set_up(certificates=given)
    assert not (tmp_path / "root" / "etc" / "pki").exists()


def test_without_certificates_tls_is_left_alone_and_said(tmp_path: Path) -> None:
    host = Root(tmp_path, DEBIAN, "libvirtd")
    assert host.set_up()["tls"] is None
    assert "Nobody can come in by TLS" in host.warnings[0]
    with pytest.raises(Failure, match=r"tls: /etc/pki/CA/cacert.pem.* is not there; give certificates"):
        host.set_up(tls=True)


def test_only_root_changes_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    host = Root(tmp_path, DEBIAN, "libvirtd")
    with pytest.raises(Failure, match=r"Cannot write /etc/libvirt/qemu.conf: only root may. Run the task as root"):
        host.set_up(qemu_settings={"max_files": 7})
    assert host.set_up(check_mode=True, qemu_settings={"max_files": 7})["changed"]


@pytest.mark.parametrize(
    ("daemons", "options", "told"),
    [
        (["libvirtd"], {"daemons": "modular"}, "has no virtqemud"),
        (["virtqemud"], {"daemons": "monolithic"}, "has no libvirtd"),
        (["libvirtd"], {"daemon_settings": {"auth_tcp": "none"}}, "ask for it by name"),
        (["libvirtd"], {"users": ["nobody-at-all"]}, "there is no user nobody-at-all"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, daemons: list[str], options: dict[str, Any], told: str
) -> None:
    host = Root(tmp_path, DEBIAN, *daemons)
    with pytest.raises(Failure, match=told):
        host.set_up(tls=False, qemu_settings={"max_files": 7}, **options)
    assert not (tmp_path / "etc" / "libvirt").exists()


def test_packages_that_are_not_installed_are_found_by_asking(tmp_path: Path) -> None:
    names = ["dpkg", "no-such-package-anywhere"]
    if not shutil.which("dpkg-query"):
        pytest.skip("dpkg-query is not here; what rpm is asked cannot be tried")
    assert missing_packages(Release("debian", "debian", 12), names) == ["no-such-package-anywhere"]


def test_a_command_that_fails_says_how_and_one_that_is_not_there_says_so() -> None:
    assert run("sh", "-c", "echo $LC_ALL") == "C\n"
    with pytest.raises(Failure, match=r"`sh -c .*` failed \(3\): no space left"):
        run("sh", "-c", "echo no space left >&2; exit 3")
    with pytest.raises(Failure, match="Cannot run no-such-command: No such file"):
        run("no-such-command")
