"""TLS of pinned connections: the certificate is verified for the name, by real handshakes."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tasks.context import HandlerSettings
from tasks.http.client import new_client, new_openai_transport
from tasks.http.transport import ssl_context
from tests.support.network import get, get_error, resolving

NAME = "shop.example"


class Authority:
    """Signs certificates for names and addresses."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name.from_rfc4514_string("CN=Tests")
        self.certificate = self._signed(
            self._subject, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0)
        )

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def server_context(self, directory: Path, host: str) -> ssl.SSLContext:
        """Return the TLS context of a server ``host``, a name or an address."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            names: x509.GeneralName = x509.IPAddress(ip_address(host))
        except ValueError:
            names = x509.DNSName(host)
        subject = x509.Name.from_rfc4514_string(f"CN={host}")
        extension = x509.SubjectAlternativeName([names])
        certificate = self._signed(subject, key.public_key(), extension)
        file = directory / "server.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._subject, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1))
        builder = builder.not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(extension, critical=True)
        # Python 3.13 requires these.
        own = self._key.public_key()
        is_authority = key == own
        usage = x509.KeyUsage(
            digital_signature=not is_authority,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=is_authority,
            crl_sign=is_authority,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
        names = x509.SubjectKeyIdentifier.from_public_key(key)
        builder = builder.add_extension(names, critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(own)
        return builder.add_extension(issuer, critical=False).sign(self._key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def _trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return the context of the service, with an additional authority."""
    context = ssl_context.__wrapped__()
    context.load_verify_locations(cadata=authority.pem)
    monkeypatch.setattr("tasks.http.transport.ssl_context", lambda: context)


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncGenerator[str]:
    """Yield the URL of an HTTPS server on loopback, with its name."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0, ssl=context)
    async with server:
        with resolving(shop_example=[["127.0.0.1"]]):
            yield f"https://{NAME}:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.usefixtures("_trusted")
async def test_a_certificate_for_the_name_is_accepted(authority: Authority, tmp_path: Path):
    async with serving(authority.server_context(tmp_path, NAME)) as url:
        result = await get(url, http_allowed_hosts=NAME)
        settings = HandlerSettings(http_allowed_hosts=NAME)
        async with new_openai_transport(settings, 5) as client:
            response = await client.get(url)
    assert result["outputData"] == {"response": "hi"}
    assert response.text == "hi"


@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize(
    "host", ["other.example", "127.0.0.1", "sub.shop.example", "*.example.com"]
)
async def test_a_certificate_for_another_name_or_for_the_address_is_rejected(
    authority: Authority, tmp_path: Path, host: str
):
    async with serving(authority.server_context(tmp_path, host)) as url:
        error = await get_error(url, http_allowed_hosts=NAME)
        settings = HandlerSettings(http_allowed_hosts=NAME)
        async with new_client(settings, 5) as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get(url)
        async with new_openai_transport(settings, 5) as client2:
            with pytest.raises(httpx2.ConnectError):
                await client2.get(url)
    assert "the certificate is not trusted: Hostname mismatch" in str(error)


async def test_a_certificate_of_an_unknown_authority_is_rejected(
    authority: Authority, tmp_path: Path
):
    async with serving(authority.server_context(tmp_path, NAME)) as url:
        error = await get_error(url, http_allowed_hosts=NAME)
    assert "the certificate is not trusted: unable to get local issuer" in str(error)
