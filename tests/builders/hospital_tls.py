# SPDX-License-Identifier: Apache-2.0
"""Certificates of the simulated hospital: a certificate authority of its own, and what it signed."""

import functools
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Certificate = Literal["own", "expired", "another host"]
"""Signed by the hospital's own authority, which nobody knows who was not told: right, expired, or of another host."""


@functools.cache
def _authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("The simulated hospital's authority")
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    builder = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(usage, critical=True).add_extension(identifier, critical=False)
    return key, builder.sign(key, hashes.SHA256())


def write_authority(folder: Path) -> Path:
    """The file that a client must know to trust the hospital."""
    path = folder / "authority.pem"
    path.write_bytes(_authority()[1].public_bytes(serialization.Encoding.PEM))
    return path


def server_context(folder: Path, certificate: Certificate) -> ssl.SSLContext:
    """What the hospital's socket is wrapped with."""
    authority_key, authority = _authority()
    key = ec.generate_private_key(ec.SECP256R1())
    ended = datetime.now(UTC) - timedelta(days=1) if certificate == "expired" else None
    host = x509.DNSName("another.example")
    names = [host] if certificate == "another host" else [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = _builder(_name("hospital"), authority.subject, key, ended)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    signed = builder.add_extension(issuer, critical=False).sign(authority_key, hashes.SHA256())
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, ended: datetime | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(ended or now + timedelta(days=2))
    )
