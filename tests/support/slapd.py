"""A real slapd on loopback, with its own configuration, schema and entries."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import os
import shutil
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ldap3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ldap3.utils.dn import escape_rdn

from corpushooks.system.process import Child, run, spawn
from tests.support.box import until

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
SLAPD, SLAPADD = (shutil.which(name, path=PATH) for name in ("slapd", "slapadd"))
BASE, PASSWORD = "dc=example,dc=org", "pass word"
ADMIN, READER = f"cn=admin,{BASE}", f"cn=reader,{BASE}"
# openssh-lpk as it is used everywhere, and beside it a key of which the directory can find a part
CONFIG = """\
dn: cn=config
objectClass: olcGlobal
cn: config
olcTLSCertificateFile: {folder}/tls.crt
olcTLSCertificateKeyFile: {folder}/tls.key

dn: cn=module,cn=config
objectClass: olcModuleList
cn: module
olcModulePath: /usr/lib/ldap
olcModuleLoad: back_mdb

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

include: file:///etc/ldap/schema/core.ldif
include: file:///etc/ldap/schema/cosine.ldif
include: file:///etc/ldap/schema/nis.ldif

dn: cn=openssh-lpk,cn=schema,cn=config
objectClass: olcSchemaConfig
cn: openssh-lpk
olcAttributeTypes: ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey'
  EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
olcAttributeTypes: ( 1.3.6.1.4.1.32473.1.1 NAME 'sshKeyText' EQUALITY caseExactIA5Match
  SUBSTR caseExactIA5SubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )
olcObjectClasses: ( 1.3.6.1.4.1.24552.500.1.1.2.0 NAME 'ldapPublicKey' SUP top AUXILIARY
  MAY ( sshPublicKey $ sshKeyText $ uid ) )

dn: olcDatabase=mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: mdb
olcSuffix: {base}
olcRootDN: {admin}
olcRootPW: {password}
olcDbDirectory: {folder}/data
olcDbMaxSize: 10485760
olcDbNoSync: TRUE
olcAccess: to * by dn.exact="{reader}" read by anonymous auth
"""
ENTRIES = """\
dn: {base}
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: {reader}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {password}

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{base}
objectClass: organizationalUnit
ou: groups
"""


def new_blob() -> str:
    """Return a public key that nobody has."""
    parts = (b"ssh-ed25519", os.urandom(32))
    return base64.b64encode(b"".join(struct.pack(">I", len(part)) + part for part in parts)).decode()


@dataclass
class Slapd:
    """A directory of our own, and what tests put into it."""

    folder: Path
    port: int = 0
    process: Child[bytes] | None = None
    made: list[str] = field(default_factory=list)

    @property
    def uri(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start on the port that it had, or on a free one."""
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        assert SLAPD is not None
        words = [SLAPD, "-d", "0", "-F", self.folder / "config", "-h", f"{self.uri} ldapi://{self.socket}"]
        self.process = spawn(words, stdout=log, stderr=log)
        os.close(log)
        until(self._listens)
        assert self.process.poll() is None, (self.folder / "log").read_text()

    @property
    def socket(self) -> str:
        return str(self.folder / "socket").replace("/", "%2F")

    def _listens(self) -> bool:
        with socket.socket() as link:
            return link.connect_ex(("127.0.0.1", self.port)) == 0 or (
                self.process is not None and self.process.poll() is not None
            )

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def admin(self) -> ldap3.Connection:
        """Return a connection that may change everything, and that `with` opens and closes."""
        return ldap3.Connection(self.uri, ADMIN, PASSWORD, raise_exceptions=True)

    def person(
        self, uid: str, *values: str, key: str = "sshPublicKey", cn: str = "", password: str | None = None
    ) -> str:
        """Make a person with keys and perhaps a password; return the name of the entry."""
        name = f"cn={escape_rdn(cn or uid)},ou=people,{BASE}"
        about = {"uid": uid, "cn": cn or uid, "uidNumber": 1, "gidNumber": 1, "homeDirectory": "/"}
        with self.admin() as link:
            link.add(name, ["account", "posixAccount", "ldapPublicKey"], {
                **about, **({key: list(values)} if values else {}), **({"userPassword": password} if password else {}),
            })  # fmt: skip
        self.made.append(name)
        return name

    def group(self, cn: str, uids: Sequence[str] = (), names: Sequence[str] = ()) -> str:
        """Make a group of uids, a posixGroup, or of entries, a groupOfNames."""
        name = f"cn={cn},ou=groups,{BASE}"
        kind = "groupOfNames" if names else "posixGroup"
        members = {"member": list(names)} if names else {"gidNumber": 1, "memberUid": list(uids)}
        with self.admin() as link:
            link.add(name, kind, {"cn": cn, **{key: value for key, value in members.items() if value}})
        self.made.append(name)
        return name

    def take_out(self, name: str, attribute: str = "", value: str = "") -> None:
        """Remove an entry, or one value of it."""
        with self.admin() as link:
            if attribute:
                link.modify(name, {attribute: [(ldap3.MODIFY_DELETE, [value])]})
            else:
                link.delete(name)
                self.made.remove(name)

    def clear(self) -> None:
        """Take out all that a test has made."""
        for name in list(self.made):
            self.take_out(name)


def _certify(folder: Path) -> None:
    """Make a certificate for this address, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "slapd")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    made = made.add_extension(x509.BasicConstraints(True, None), True)
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
    (folder / "tls.crt").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Slapd]:
    """Run a slapd whose configuration and data lie in `folder`."""
    assert SLAPADD, "slapd is missing: sh tests/need_system.sh"
    _certify(folder)
    about = {"folder": folder, "base": BASE, "admin": ADMIN, "reader": READER, "password": PASSWORD}
    (folder / "reader").write_text(f"{PASSWORD}\n")
    (folder / "data").mkdir()
    (folder / "reader").chmod(0o600)
    for database, name, text in (("0", "config", CONFIG), ("1", "data", ENTRIES)):
        (folder / name).mkdir(exist_ok=True)
        (folder / f"{name}.ldif").write_text(text.format(**about))
        run([SLAPADD, "-q", "-n", database, "-F", folder / "config", "-l", folder / f"{name}.ldif"])
    found = Slapd(folder)
    try:
        found.start()
        yield found
    finally:
        found.stop()
