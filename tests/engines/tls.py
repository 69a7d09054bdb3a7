"""
TLS before an engine that has none: a certificate of a test, and a proxy that ends it.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs


@attrs.frozen
class Certified:
    """
    Both sides of one certificate.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext

    @classmethod
    def make(cls, folder: Path, names: str = "DNS:localhost,IP:127.0.0.1", /) -> Certified:
        """
        Have ``openssl`` make one for these names, for a day.
        """
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", str(key), "-out", str(certificate), "-days", "1", "-subj", "/CN=localhost"]
        command += ["-addext", f"subjectAltName={names}"]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
        return cls(server, ssl.create_default_context(cafile=str(certificate)))


async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """
    Write what is read until there is no more.
    """
    with suppress(OSError, ssl.SSLError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def tls_before(port: int, context: ssl.SSLContext) -> AsyncGenerator[int]:
    """
    End TLS before the engine at *port*; yield the port to use.
    """
    tasks: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(between(reader, writer)))

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, back))
        await asyncio.gather(passed_on(reader, back), passed_on(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
