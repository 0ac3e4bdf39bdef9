"""The cluster's own certificate authority and what it signs."""

from __future__ import annotations

import ipaddress
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=3650)
NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
ADDRESSES = ("127.0.0.1", "::1")


def write_private(path: Path, content: bytes) -> None:
    """A file that only its owner reads, from the first byte on."""
    path.unlink(missing_ok=True)
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )


def _name(common_name: str, *organizations: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """Certificates and keys in one directory, made when they are first asked for and kept then."""

    def __init__(self, directory: Path, name: str = "virtlab-ca") -> None:
        self.directory = directory
        self._name = name
        self.certificate_file = directory / "ca.crt"
        self._key_file = directory / "ca.key"
        if not self.certificate_file.exists():
            self._found()

    def _found(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(self._name)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            _builder(subject, subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(self._key_file, _pem(key))
        self.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def pem(self) -> str:
        return self.certificate_file.read_text()

    def server_files(self) -> tuple[Path, Path]:
        """Certificate and key of the API server."""
        certificate, key = self.directory / "server.crt", self.directory / "server.key"
        if not certificate.exists():
            alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in NAMES]
            alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
            self._sign(_name("kube-apiserver"), certificate, key, [ExtendedKeyUsageOID.SERVER_AUTH], alternatives)
        return certificate, key

    def serving_context(self, name: str, *hosts: str, kept: bool = True) -> ssl.SSLContext:
        """TLS of a server of that name on this machine; it is certified as each of C(hosts) as well.

        The certificate is C(kept) for later, or made anew.
        """
        certificate, key = self.directory / f"serving-{name}.crt", self.directory / f"serving-{name}.key"
        if not (kept and certificate.exists()):
            alternatives: list[x509.GeneralName] = [x509.DNSName(host) for host in ("localhost", *hosts)]
            alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
            self._sign(_name(name), certificate, key, [ExtendedKeyUsageOID.SERVER_AUTH], alternatives)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        return context

    def client_files(self, name: str, *groups: str) -> tuple[Path, Path]:
        """Certificate and key of a user, whose groups are the subject's organizations."""
        certificate, key = self.directory / f"client-{name}.crt", self.directory / f"client-{name}.key"
        if not certificate.exists():
            self._sign(_name(name, *groups), certificate, key, [ExtendedKeyUsageOID.CLIENT_AUTH], [])
        return certificate, key

    def machine_files(self, name: str, address: str) -> tuple[Path, Path]:
        """Certificate and key of a machine that is both server and client to others, as libvirt and QEMU want them."""
        certificate, key = self.directory / f"host-{name}.crt", self.directory / f"host-{name}.key"
        if not certificate.exists():
            both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            alternatives = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(address))]
            self._sign(_name(name), certificate, key, both, alternatives, enciphers=True)
        return certificate, key

    def _sign(
        self,
        subject: x509.Name,
        certificate_file: Path,
        key_file: Path,
        purposes: list[x509.ObjectIdentifier],
        alternatives: list[x509.GeneralName],
        *,
        enciphers: bool = False,
    ) -> None:
        authority = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        signer = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = (
            _builder(subject, authority.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(identifier, critical=False)
            .add_extension(_usage(signs=False, enciphers=enciphers), critical=True)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(signer, hashes.SHA256())
        write_private(key_file, _pem(key))
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server_context(self) -> ssl.SSLContext:
        """TLS as the API server speaks it: client certificates of this authority are welcome, none is needed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self.server_files())
        context.load_verify_locations(self.certificate_file)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


def _usage(*, signs: bool, enciphers: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=enciphers,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
