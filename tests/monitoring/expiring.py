"""A TLS server whose certificate is good for an hour, and a housekeeping process that looks at it."""

import asyncio
import contextlib
import datetime
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def write_certificate(folder: Path, good_for: datetime.timedelta) -> tuple[Path, Path]:
    """A self-signed one for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - datetime.timedelta(days=30)).not_valid_after(now + good_for)
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths[1].write_bytes(key.private_bytes(*plain))
    return paths


@contextlib.asynccontextmanager
async def tls_server(folder: Path, good_for: datetime.timedelta) -> AsyncIterator[str]:
    """wss:// of a server that only shows its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_certificate(folder, good_for))
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"


@contextlib.asynccontextmanager
async def another_housekeeping(environment: dict[str, str], wss_url: str, log: Path) -> AsyncIterator[None]:
    """A second one does no harm; it looks at this address."""
    environment = {**environment, "PUBLIC_WSS_URL": wss_url, "SFVOPI_HOUSEKEEPING_PORT": "0"}
    with log.open("wb") as lines:
        command = (sys.executable, "-m", "worker.housekeeping")
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=lines, stderr=lines)
        try:
            yield
        finally:
            process.terminate()
            await process.wait()
