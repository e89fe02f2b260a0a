"""SSRF guard settings: allowed hosts, private networks, error messages, and proxies."""

import pytest

import start_service
from config import Settings, SettingsError
from tasks.http.ssrf_guard import AllowedHost, parse_allowed_hosts
from tests.support.llm_calls import run_llm
from tests.support.llm_server import serve_replies
from tests.support.network import PUBLIC, get, get_error, no_network, resolving
from tests.support.ports import free_port
from tests.support.servers import Response, serve
from worker_setup import worker_settings

OK = Response.of({"ok": True})

# The error


async def test_the_error_names_the_host_the_reason_and_the_settings():
    with no_network(intranet_example=[["10.1.2.3"]]):
        error = await get_error("https://intranet.example/?key=secret")
    assert str(error) == (
        "GET https://intranet.example/: ssrf_blocked: calls may not go to 'intranet.example', "
        "which is a private address. The operator can allow it with "
        "HTTP_ALLOWED_HOSTS=intranet.example:443, "
        "or HTTP_ALLOW_PRIVATE_NETWORKS=true for all private networks."
    )
    assert not error.retryable


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.0.0.1", "127.1", "224.0.0.1"])
async def test_the_setting_that_the_error_names_allows_the_address(host: str):
    with no_network() as network:
        error = await get_error(f"http://{host}:8080/")
        advice = str(error).partition("HTTP_ALLOWED_HOSTS=")[2].partition(",")[0].rstrip(".")
        assert network.connected == []
        await get_error(f"http://{host}:8080/", http_allowed_hosts=advice)
        assert len(network.connected) == 1


# HTTP_ALLOW_PRIVATE_NETWORKS


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "[fd00::1]"]
)
async def test_private_networks_can_be_allowed(host: str):
    with no_network() as network:
        await get_error(f"http://{host}/", http_allow_private_networks=True)
    assert len(network.connected) == 1


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "100.100.100.200", "[fd00:ec2::254]", "0.0.0.0", "224.0.0.1"]
)
async def test_other_special_addresses_stay_blocked(host: str):
    with no_network() as network:
        error = await get_error(f"http://{host}/", http_allow_private_networks=True)
    assert network.connected == []
    assert "ssrf_blocked" in str(error)
    assert "HTTP_ALLOW_PRIVATE_NETWORKS" not in str(error)


# HTTP_ALLOWED_HOSTS

NAMES = {
    "a_corp_example": [["10.0.0.1"]],
    "b_a_corp_example": [["10.0.0.2"]],
    "corp_example": [["10.0.0.3"]],
    "notcorp_example": [["10.0.0.4"]],
    "six_example": [["fd00::5"]],
    "xn--bcher-kva_example": [["10.0.0.6"]],
}


@pytest.mark.parametrize(
    ("allowed", "url", "is_open"),
    [
        ("a.corp.example", "http://a.corp.example/", True),
        ("A.Corp.Example.", "http://a.CORP.example./", True),
        ("a.corp.example", "http://b.a.corp.example/", False),
        ("a.corp.example", "http://10.0.0.1/", False),
        ("a.corp.example:8080", "http://a.corp.example:8080/", True),
        ("a.corp.example:8080", "http://a.corp.example/", False),
        ("a.corp.example:443", "https://a.corp.example/", True),
        ("*.corp.example", "http://a.corp.example/", True),
        ("*.corp.example", "http://b.a.corp.example/", True),
        ("*.corp.example", "http://corp.example/", False),
        ("*.corp.example", "http://notcorp.example/", False),
        ("*.corp.example:81", "http://a.corp.example/", False),
        ("10.0.0.1", "http://10.0.0.1/", True),
        ("10.0.0.1", "http://a.corp.example/", True),
        ("10.0.0.1", "http://167772161/", True),
        ("10.0.0.1", "http://[::ffff:10.0.0.1]/", True),
        ("10.0.0.1", "http://10.0.0.2/", False),
        ("10.0.0.0/8", "http://corp.example/", True),
        ("10.0.0.0/8:81", "http://corp.example:81/", True),
        ("10.0.0.0/8:81", "http://corp.example/", False),
        ("10.0.0.0/31", "http://corp.example/", False),
        ("fd00::5", "http://six.example/", True),
        ("[fd00::5]", "http://six.example/", True),
        ("[fd00::5]:81", "http://six.example/", False),
        ("fd00::/8", "http://[fd12::1]/", True),
        ("[fd00::/8]:81", "http://[fd12::1]:81/", True),
        ("169.254.169.254", "http://169.254.169.254/", True),
        (" x.example , ,10.0.0.3 ", "http://corp.example/", True),
        ("bücher.example", "http://bücher.example/", True),
        ("bücher.example", "http://xn--bcher-kva.example/", True),
    ],
)
async def test_only_allowed_hosts_are_reachable(allowed: str, url: str, is_open: bool):
    with no_network(**NAMES) as network:
        error = await get_error(url, http_allowed_hosts=allowed)
    assert bool(network.connected) == is_open
    assert ("ssrf_blocked" in str(error)) != is_open


def test_entries_are_parsed():
    assert parse_allowed_hosts("") == ()
    assert parse_allowed_hosts("a.example:1, *.b") == (
        AllowedHost(name="a.example", port=1),
        AllowedHost(name=".b"),
    )


WRONG = [
    "http://a.example",
    "a.example/path",
    "*",
    "*.",
    "a.*.example",
    "a b",
    "10.0.0.0/33",
    "10.0.0.1/8",
    "10.0.0",
    "2130706433",
    "a.example:0",
    "a.example:65536",
    "a.example:",
    "a.example:http",
    "[::1",
    "[a.example]",
    "::1::2",
    "user@a.example",
]


@pytest.mark.parametrize("entry", WRONG)
def test_an_invalid_entry_is_one_line_that_names_it(entry: str):
    with pytest.raises(SettingsError) as raised:
        worker_settings(Settings(_env_file=None, http_allowed_hosts=f"ok.example,{entry}"))  # pyright: ignore[reportCallIssue]
    line = str(raised.value)
    assert line.startswith(f"HTTP_ALLOWED_HOSTS='ok.example,{entry}': '{entry}' ")
    assert "\n" not in line


def test_an_invalid_entry_stops_the_start_before_the_database_is_created(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path
):
    monkeypatch.setattr("logs.configure_logging", lambda *_args: None)
    monkeypatch.setattr("gc.disable", lambda: None)
    monkeypatch.setattr("sys.setswitchinterval", lambda _seconds: None)
    database = tmp_path / "database.sqlite"
    settings = Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        database_path=database,
        prefect_home=tmp_path / "prefect",
        http_allowed_hosts="10.0.0.1/8",
    )
    assert start_service.serve(settings, [], is_open=True) == 2
    assert capsys.readouterr().err.startswith("Wrong setting: HTTP_ALLOWED_HOSTS='10.0.0.1/8': ")
    assert not database.exists()


def test_an_invalid_proxy_is_named_without_its_password():
    settings = Settings(_env_file=None, http_proxy_url="ann:hidden@proxy:3128")  # pyright: ignore[reportCallIssue]
    with pytest.raises(SettingsError, match=r"^HTTP_PROXY_URL ") as raised:
        worker_settings(settings)
    assert "hidden" not in str(raised.value)
    good = worker_settings(
        Settings(_env_file=None, http_proxy_url="http://ann:hidden@proxy:3128")  # pyright: ignore[reportCallIssue]
    )
    assert good.handler_settings.http_proxy_url == "http://ann:hidden@proxy:3128"
    assert "hidden" not in repr(good)


# The model server


async def test_only_llm_nodes_reach_the_configured_model_server():
    async with serve_replies("ok") as server:
        result = await run_llm(server)
        assert result["llmResponse"] == "ok"
        error = await get_error(server.url, openai_base_url=f"{server.url}/v1")
        assert "ssrf_blocked" in str(error)


async def test_a_redirect_of_a_model_server_is_checked():
    async with serve(OK) as inside:
        async with serve(Response(307, headers={"Location": f"{inside.url}/v1"})) as outside:
            with pytest.raises(Exception, match="ssrf_blocked") as raised:
                await run_llm(outside)
        assert inside.requests == []
    assert not raised.value.retryable  # type: ignore[attr-defined]
    assert str(raised.value).startswith("the model server at 127.0.0.1: ")


# Proxies


async def test_public_hosts_are_called_through_the_proxy():
    async with serve(OK) as proxy:
        with resolving(public_example=[[PUBLIC]]):
            result = await get("http://public.example/x", http_proxy_url=proxy.url)
    assert result["outputData"] == {"ok": True}
    assert proxy.last.target == "http://public.example/x"
    assert proxy.last.headers["host"] == "public.example"


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost", "intranet.example", "2130706433"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_proxy_receives_no_request_for_a_blocked_address(scheme: str, host: str):
    names = {"localhost": [["127.0.0.1"]], "intranet_example": [["10.0.0.2"]]}
    async with serve(OK) as proxy:
        with resolving(**names):
            error = await get_error(f"{scheme}://{host}/", http_proxy_url=proxy.url)
        assert proxy.requests == []
    assert "ssrf_blocked" in str(error)


async def test_the_proxy_receives_names_that_only_it_can_resolve():
    async with serve(OK) as proxy:
        with resolving():
            await get("http://outside.example/", http_proxy_url=proxy.url)
            assert len(proxy.requests) == 1
            for name in ("intranet", "printer.local", "metadata.google.internal", "x.localhost."):
                error = await get_error(f"http://{name}/", http_proxy_url=proxy.url)
                assert "a name of private networks" in str(error)
            assert len(proxy.requests) == 1
            await get("http://intranet/", http_proxy_url=proxy.url, http_allowed_hosts="intranet")
            assert len(proxy.requests) == 2


async def test_allowed_hosts_are_called_directly():
    proxy = f"http://127.0.0.1:{free_port()}"
    async with serve(OK) as server:
        await get(server.url, http_proxy_url=proxy, http_allowed_hosts="127.0.0.1")
        assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch, name: str):
    async with serve(OK) as proxy, serve_replies("ok") as model, serve(OK) as server:
        monkeypatch.setenv(name, proxy.url)
        await get(server.url, http_allowed_hosts="127.0.0.1")
        await run_llm(model)
        assert (len(server.requests), len(model.requests)) == (1, 1)
        assert proxy.requests == []
