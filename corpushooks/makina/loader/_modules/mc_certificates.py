"""Self-signed certificates, for a site with TLS but without a real certificate yet."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAYS = 3650
RENEWED = datetime.timedelta(days=30)  # before it expires


def self_signed(names: Sequence[str]) -> tuple[str, str]:
    """Return a new certificate for these names, and its key, both in PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    known = _names(names)
    common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(known[0].value)[:64])])
    made = (
        x509.CertificateBuilder()
        .subject_name(common)
        .issuer_name(common)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(known), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), secret.decode()


def serves(certificate: bytes, key: bytes, names: Sequence[str]) -> bool:
    """Return whether a certificate and its key match, are for these names, and do not expire soon."""
    try:
        found = x509.load_pem_x509_certificate(certificate)
        own = serialization.load_pem_private_key(key, None).public_key()
        said = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return False
    ends = found.not_valid_after_utc - RENEWED
    return found.public_key() == own and list(said) == _names(names) and ends > datetime.datetime.now(ends.tzinfo)


def _names(names: Sequence[str]) -> list[x509.GeneralName]:
    """Return names in the form of a certificate, without invalid ones (patterns of nginx)."""
    found = [made for name in names if (made := _name(name)) is not None]
    return found or [x509.DNSName("localhost")]


def _name(name: str) -> x509.GeneralName | None:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    try:
        text = name if name.isascii() else name.encode("idna").decode()
        return x509.DNSName(text) if text.replace("*", "").replace("-", "").replace(".", "").isalnum() else None
    except (UnicodeError, ValueError):
        return None
