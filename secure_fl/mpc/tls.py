"""Keys and certificates of the computing nodes, the dealer and the coordinator; TLS between them.

One authority signs a certificate for each party's name. A party accepts only TLS 1.3 connections
from a holder of a certificate of this authority, under the name that the peer claims.
"""

from __future__ import annotations

import datetime
import os
import socket
import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from secure_fl.errors import InputError, NodeFailure, require

_AUTHORITY = "authority"
_DAYS = 365


def party_names(nodes: int) -> list[str]:
    """Return the names of all parties: "coordinator", "dealer", "node 0", ..."""
    return ["coordinator", "dealer", *(f"node {rank}" for rank in range(nodes))]


def _file(folder: Path, name: str, kind: str) -> Path:
    return folder / f"{_host(name)}.{kind}"


def _host(name: str) -> str:
    return name.replace(" ", "-")


def make_keys(folder: Path, nodes: int, days: int = _DAYS) -> list[Path]:
    """Make an authority and a certificate for every party; the authority's key is not kept.

    Each party needs `authority.pem` and its own `.pem` and `.key`; keys are readable by the owner
    alone and come from the operating system's randomness.

    Args:
        folder: new folder.   nodes: number of computing nodes.   days: validity.

    Returns:
        The files written.

    Raises:
        InputError: the folder exists, or a number is out of range.
    """
    require(2 <= nodes <= 4, "nodes", "2, 3 or 4", nodes)
    require(1 <= days <= 36_500, "days", "from 1 to 36500", days)
    if folder.exists():
        raise InputError(f"{folder} exists: keys are never overwritten")
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise InputError(f"cannot make folder {folder}: {error.strerror}") from error
    authority = ec.generate_private_key(ec.SECP256R1())
    issued = _certificate(_AUTHORITY, authority.public_key(), authority, days)
    written = [_write(_file(folder, _AUTHORITY, "pem"), _pem(issued))]
    for name in party_names(nodes):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key.public_key(), authority, days)
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        written.append(_write(_file(folder, name, "pem"), _pem(certificate)))
        written.append(_write(_file(folder, name, "key"), secret))
    return written


def check_keys(folder: Path, nodes: int) -> None:
    """Refuse a folder that lacks a file of some party, or has one party's in another's place.

    Raises:
        InputError: naming the party.
    """
    for name in [_AUTHORITY, *party_names(nodes)]:
        kinds = ("pem",) if name == _AUTHORITY else ("pem", "key")
        for kind in kinds:
            path = _file(folder, name, kind)
            if not path.is_file():
                raise InputError(f"keys of {name} cannot be read: there is no {path}")
        _require_holder(_file(folder, name, "pem"), _host(name))


def _require_holder(path: Path, host: str) -> None:
    try:
        subject = x509.load_pem_x509_certificate(path.read_bytes()).subject
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a certificate: {error}") from error
    names = [str(name.value) for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    require(names == [host], str(path), f"the certificate of {host}", ", ".join(names))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes) -> Path:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(content)
    return path


def _certificate(
    name: str, key: ec.EllipticCurvePublicKey, authority: ec.EllipticCurvePrivateKey, days: int
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    is_authority = name == _AUTHORITY
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _host(name))]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _AUTHORITY)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_host(name))]), critical=False)
    )
    return builder.sign(authority, hashes.SHA256())


@dataclass(frozen=True)
class Tls:
    """One party's end of TLS.

    Attributes:
        folder: where `make_keys` wrote.   name: this party.
    """

    folder: Path
    name: str

    def _context(self, kind: int) -> ssl.SSLContext:
        context = ssl.SSLContext(kind)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_cert_chain(
                _file(self.folder, self.name, "pem"), _file(self.folder, self.name, "key")
            )
            context.load_verify_locations(_file(self.folder, _AUTHORITY, "pem"))
        except OSError as error:
            message = f"keys of {self.name} cannot be read from {self.folder}: {error}"
            raise InputError(message) from error
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    @cached_property
    def _client(self) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    @cached_property
    def _server(self) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def call(self, sock: socket.socket, peer: str) -> ssl.SSLSocket:
        """Wrap a socket that we opened; the other end must be `peer`.

        Raises:
            NodeFailure: it cannot prove that.
        """
        try:
            return self._client.wrap_socket(sock, server_hostname=_host(peer))
        except OSError as error:
            sock.close()
            raise NodeFailure(f"no TLS connection to {peer}: {error}") from error

    def answer(self, sock: socket.socket) -> ssl.SSLSocket:
        """Wrap a socket that we accepted, its handshake still to be made.

        After it the caller has shown a certificate of our authority; `certified` tells whose.
        """
        return self._server.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)


def certified(sock: socket.socket, name: str) -> bool:
    """Return whether the peer's certificate is for `name`; never over a plain socket."""
    if not isinstance(sock, ssl.SSLSocket):
        return False
    names = (sock.getpeercert() or {}).get("subjectAltName", ())
    return ("DNS", _host(name)) in names
