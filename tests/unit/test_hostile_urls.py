"""SSRF guard: hostile URLs from the table, redirects, and names that change their address."""

import asyncio
import socket
from ipaddress import ip_address

import pytest

from tests.support.hostile_urls import HOSTILE, Hostile
from tests.support.network import PUBLIC, PUBLIC_SIX, get, get_error, no_network, resolving
from tests.support.ports import free_port
from tests.support.servers import Response, serve

NAMES = {
    "localhost": [["127.0.0.1", "::1"]],
    "intranet_example": [["10.1.2.3"]],
    "127_0_0_1_nip_example": [["127.0.0.1"]],
    "mixed_example": [[PUBLIC, "192.168.0.7"]],
    "mixed-six_example": [[PUBLIC, "fd00::7"]],
    "metadata_google_internal": [["169.254.169.254"]],
    "public_example": [[PUBLIC, PUBLIC_SIX]],
}
OK = Response.of({"ok": True})


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: ascii(hostile.url))
async def test_the_table_of_hostile_urls(hostile: Hostile):
    with no_network(**NAMES) as network:
        error = await get_error(hostile.url)
    assert network.connected == []
    assert not error.retryable
    if hostile.why:
        assert "ssrf_blocked" in str(error)
        assert hostile.why in str(error)
    else:
        assert "httpUrl" in str(error)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: ascii(hostile.url))
async def test_the_table_of_hostile_urls_as_redirects(hostile: Hostile):
    hop = Response(302, headers={"Location": hostile.url.replace("\r\n", "%0d%0a")})
    async with serve(hop) as server:
        with resolving(**NAMES):
            error = await get_error(server.url, http_allowed_hosts=f"127.0.0.1:{server.port}")
        assert len(server.requests) == 1
    if hostile.why:
        assert "ssrf_blocked" in str(error)
        assert hostile.why in str(error)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "127.0.0.1.", "[::ffff:7f00:1]"],
)
async def test_a_server_on_loopback_is_not_reached(host: str):
    async with serve(OK) as server:
        error = await get_error(f"http://{host}:{server.port}/")
        assert server.requests == []
    assert "ssrf_blocked" in str(error)
    assert "a loopback address" in str(error)


async def test_a_redirect_from_an_open_server_to_a_closed_one_is_not_followed():
    async with serve(OK) as inside:
        async with serve(Response(302, headers={"Location": f"{inside.url}/secret"})) as outside:
            error = await get_error(outside.url, http_allowed_hosts=f"127.0.0.1:{outside.port}")
            assert len(outside.requests) == 1
        assert inside.requests == []
    assert f"HTTP_ALLOWED_HOSTS=127.0.0.1:{inside.port}" in str(error)


async def test_the_checked_address_is_called():
    """DNS rebinding: the name is public when it is checked, and loopback afterwards."""
    with no_network(rebind_example=[[PUBLIC], ["127.0.0.1"]]) as network:
        error = await get_error("http://rebind.example/")
    assert network.resolved == ["rebind.example"]
    assert network.connected == [PUBLIC]
    assert "refused" in str(error)


async def test_a_redirect_to_a_name_with_a_new_private_address_is_blocked():
    async with serve(Response(302, headers={"Location": "http://rebind.example/"})) as server:
        with resolving(rebind_example=[["10.0.0.1"]]):
            error = await get_error(server.url, http_allowed_hosts=f"127.0.0.1:{server.port}")
    assert "ssrf_blocked" in str(error)
    assert "10.0.0.1" not in str(error)  # private addresses are not revealed


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://public.example/", PUBLIC),
        ("http://PUBLIC.example./", PUBLIC),
        ("http://8.8.8.8/", "8.8.8.8"),
        ("http://134744072/", "8.8.8.8"),
        ("http://127.0.0.1@8.8.8.8/", "8.8.8.8"),
        ("http://[2606:4700:4700::1111]/", "2606:4700:4700::1111"),
        ("http://[64:ff9b::808:808]/", "64:ff9b::808:808"),
        ("http://[::ffff:8.8.8.8]/", "::ffff:808:808"),
        ("http://172.15.255.255/", "172.15.255.255"),
        ("http://172.32.0.0/", "172.32.0.0"),
        ("http://100.128.0.1/", "100.128.0.1"),
        ("http://223.255.255.254/", "223.255.255.254"),
    ],
)
async def test_public_addresses_are_called(url: str, address: str):
    with no_network(**NAMES) as network:
        error = await get_error(url)
    # Versions of Python spell embedded addresses differently.
    assert ip_address(address) in map(ip_address, network.connected)
    assert "refused" in str(error)
    assert error.retryable


# Unaffected behavior


async def test_the_next_address_is_tried_if_the_first_rejects_the_connection():
    async with serve(OK) as server:
        # No server uses the second loopback address.
        with resolving(two_example=[["127.0.0.2", "127.0.0.1"]]):
            url = f"http://two.example:{server.port}/"
            result = await get(url, http_allowed_hosts="two.example")
    assert result["outputData"] == {"ok": True}
    assert server.last.headers["host"] == f"two.example:{server.port}"


async def test_a_call_fails_if_all_addresses_reject_the_connection():
    with resolving(two_example=[["127.0.0.2", "127.0.0.1"]]):
        url = f"http://two.example:{free_port()}/"
        error = await get_error(url, http_allowed_hosts="two.example")
    assert "the connection was refused" in str(error)
    assert error.retryable


async def test_the_server_name_of_tls_is_the_host_name():
    greeting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting.set_result(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with resolving(named_example=[["127.0.0.1"]]):
            await get_error(f"https://named.example:{port}/", http_allowed_hosts="named.example")
    assert b"named.example" in greeting.result()  # SNI is not encrypted


async def test_an_unresolvable_name_is_not_reported_as_blocked(monkeypatch: pytest.MonkeyPatch):
    def unknown(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    error = await get_error("http://nowhere.example/")
    assert "the host name cannot be resolved" in str(error)
    assert error.retryable


async def test_an_invalid_name_is_reported_as_unresolvable():
    error = await get_error(f"http://{'a' * 64}.example/")
    assert "the host name cannot be resolved" in str(error)
