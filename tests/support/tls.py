"""TLS in front of the test server, which is built without it, and the certificates for that."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
_FROM, _UNTIL = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A certificate authority that writes PEM files into a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.root = folder / f"{name}.crt"
        certificate = self._sign(
            self._builder(name, self._key.public_key()).add_extension(
                x509.BasicConstraints(ca=True, path_length=None), critical=True
            )
        )
        self.root.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(
        self, name: str, *hosts: str, password: str = ""
    ) -> tuple[Path, Path, x509.Certificate]:
        """Write a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(name, key.public_key())
        names = [_subject(host) for host in hosts]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = self._sign(builder)
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        sealed: KeySerializationEncryption = (
            BestAvailableEncryption(password.encode()) if password else NoEncryption()
        )
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))
        return *paths, certificate

    def revoke(self, *certificates: x509.Certificate) -> Path:
        """Writes a revocation list."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(_FROM).next_update(_UNTIL)
        for certificate in certificates:
            revoked = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(revoked.revocation_date(_FROM).build())
        path = self.folder / f"revoked-{len(certificates)}.crl"
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return path

    def _builder(self, name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_FROM)
            .not_valid_after(_UNTIL)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())


def _subject(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@dataclass
class AcceptedConnections:
    """The connections that the front has accepted."""

    port: int
    plain: int = 0
    sessions: list[dict[str, Any]] = field(default_factory=list)

    def record(self, secured: ssl.SSLObject | None) -> None:
        if not secured:
            self.plain += 1
            return
        client = _client(secured)
        protocol = secured.selected_alpn_protocol()
        self.sessions.append({"version": secured.version(), "protocol": protocol, "client": client})


@asynccontextmanager
async def tls_front(
    socket: str, context: ssl.SSLContext | None, *, direct: bool = False
) -> AsyncIterator[AcceptedConnections]:
    """Terminates TLS as PostgreSQL does and forwards the data to a server's socket.

    Without a context it rejects TLS; `direct` starts with TLS, as PostgreSQL 17 accepts.
    """
    seen = AcceptedConnections(0)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                first = b"" if direct else await _negotiated(reader, writer, context)
                seen.record(writer.get_extra_info("ssl_object"))
                await _relay(reader, writer, socket, first)
            finally:
                writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if direct else None)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _negotiated(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext | None
) -> bytes:
    """Answers a request for TLS, if there is one; returns the bytes read beyond it."""
    first = await reader.readexactly(8)
    if first != _SSL_REQUEST:
        return first
    writer.write(b"S" if context else b"N")
    if context:
        await writer.start_tls(context)
        return b""
    return await reader.readexactly(8)


def _client(secured: ssl.SSLObject) -> str | None:
    certificate = secured.getpeercert(binary_form=True)
    if not certificate:
        return None
    subject = x509.load_der_x509_certificate(certificate).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, socket: str, first: bytes
) -> None:
    far_reader, far_writer = await asyncio.open_unix_connection(socket)
    far_writer.write(first)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.close()

    try:
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
    finally:
        far_writer.close()
