"""Browser protection: pages of other origins, and host names that resolve to this machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from api.auth.permissions import SAFE_METHODS
from api_service import create_app
from config import Settings, SettingsError
from tests.api.test_access import ROUTES
from tests.api.test_hardening import raw
from tests.support.access import ENTRIES, as_
from tests.support.documents import document, line, node
from tests.support.problems import problem_of, row_counts
from tests.support.service import RunningService

EVIL = "https://evil.example"
LISTED = "https://editor.example"
LOCAL = "http://localhost:5173"
HOOK = document(node("hook", "webhook"), node("end"), flow=("hook -> end",))
CHANGES = sorted(
    {route for route in ROUTES if route[0] not in SAFE_METHODS and "webhook" not in route[1]}
)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    directory = tmp_path_factory.mktemp("listed")
    with RunningService(directory, cors_origins=LISTED, allowed_hosts="shop.example") as service:
        yield service


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("keyed"), api_keys=ENTRIES) as service:
        yield service


# The host


@pytest.mark.parametrize("path", ["/", "/docs", "/api/executions", "/health", "/nothing-there"])
def test_a_foreign_host_is_rejected_while_no_keys_are_set(
    shared_service: RunningService, path: str
):
    response = shared_service.http.get(path, headers={"Host": "evil.example"})
    detail = problem_of(response, 421)["detail"]
    assert "'evil.example'" in detail
    assert "ALLOWED_HOSTS" in detail
    assert "API_KEYS" in detail


def test_a_forwarded_host_does_not_count(shared_service: RunningService):
    sent = {"Host": "evil.example", "X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}
    assert shared_service.http.get("/", headers=sent).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8000", "workflows", "10.1.2.3", "[::1]:8000"])
def test_a_host_of_this_machine_or_of_a_container_is_accepted(
    shared_service: RunningService, host: str
):
    assert shared_service.http.get("/", headers={"Host": host}).status_code == 200


def test_a_host_of_the_setting_is_accepted(listed: RunningService):
    assert listed.http.get("/", headers={"Host": "shop.example"}).status_code == 200
    assert listed.http.get("/", headers={"Host": "www.shop.example"}).status_code == 421


def test_with_keys_every_host_is_accepted(keyed: RunningService):
    sent = {"Host": "evil.example", **as_("read")}
    assert keyed.http.get("/api/executions", headers=sent).status_code == 200


@pytest.mark.parametrize(
    ("request_line_and_host", "status"),
    [
        (b"GET / HTTP/1.0\r\n", b"421"),
        (b"GET / HTTP/1.1\r\nHost:\r\n", b"421"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n", b"400"),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n", b"404"),
        (b"GET http://localhost:8000/ HTTP/1.1\r\nHost: evil.example\r\n", b"421"),
        (b"GET http://evil.example/api/webhook/w HTTP/1.1\r\nHost: localhost\r\n", b"404"),
    ],
)
def test_missing_and_repeated_hosts_and_absolute_targets_are_rejected(
    shared_service: RunningService, request_line_and_host: bytes, status: bytes
):
    response = raw(shared_service, request_line_and_host + b"Connection: close\r\n\r\n")
    assert response.split(b" ")[1] == status


def test_a_websocket_of_a_foreign_host_is_rejected(shared_service: RunningService):
    with pytest.raises(InvalidStatus) as refusal:
        connect(
            shared_service.url.replace("http:", "ws:") + "/ws",
            additional_headers={"Host": "evil.example"},
            proxy=None,
        )
    # The client also sends its own host, and a request with two hosts is invalid.
    assert refusal.value.response.status_code in (400, 421)


# The origin


@pytest.mark.parametrize("route", CHANGES, ids=" ".join)
@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost.evil.example"])
def test_a_page_of_a_foreign_origin_changes_nothing(
    shared_service: RunningService, keyed: RunningService, route: tuple[str, str], origin: str
):
    method, path = route
    for service, headers in ((shared_service, {}), (keyed, as_("admin"))):
        before = row_counts(service)
        for content_type in ("application/json", "text/plain", None):
            sent = {"Origin": origin, **headers}
            if content_type:
                sent["Content-Type"] = content_type
            response = service.http.request(method, path, headers=sent, content=b"{}")
            detail = problem_of(response, 403)["detail"]
            assert "CORS_ORIGINS" in detail
            assert f"'{origin}'" in detail
        assert row_counts(service) == before


def test_a_rerun_without_a_body_and_a_form_post_of_a_foreign_page_change_nothing(
    service: RunningService,
):
    done = service.run(line(3))["executionId"]
    response = service.http.post(f"/api/executions/{done}/rerun", headers={"Origin": EVIL})
    problem_of(response, 403)
    form = service.http.post(
        "/api/workflows/execute", data={"workflowId": "w"}, headers={"Origin": EVIL}
    )
    problem_of(form, 403)
    assert len(service.rows("SELECT id FROM workflow_executions")) == 1


def test_two_origins_count_as_the_foreign_one(shared_service: RunningService):
    request = httpx.Request(
        "POST",
        f"{shared_service.url}/api/workflows/execute",
        headers=[("Origin", LOCAL), ("Origin", EVIL), ("Content-Type", "application/json")],
        content=b"{}",
    )
    problem_of(shared_service.http.send(request), 403)


@pytest.mark.parametrize(
    "origin", [LOCAL, "http://127.0.0.1:3000", "https://localhost", None, "own"]
)
def test_a_page_of_this_machine_and_a_program_without_an_origin_may_change_things(
    service: RunningService, origin: str | None
):
    service.save(line(3))
    sent = {} if origin is None else {"Origin": service.url if origin == "own" else origin}
    response = service.http.post("/api/workflows/execute", json={"workflowId": "w"}, headers=sent)
    assert response.status_code == 200


def test_the_own_origin_is_that_of_the_host(listed: RunningService):
    listed.save(line(3))
    for origin, host, status in (
        ("https://shop.example", "shop.example", 200),
        ("http://shop.example:8000", "shop.example:8000", 200),
        ("https://shop.example", "localhost:8000", 403),
        ("https://evil.example", "shop.example", 403),
    ):
        response = listed.http.post(
            "/api/workflows/execute",
            json={"workflowId": "w"},
            headers={"Origin": origin, "Host": host},
        )
        assert response.status_code == status, (origin, host)


@pytest.mark.parametrize("origin", [EVIL, "null"])
def test_a_websocket_of_a_foreign_page_is_rejected(shared_service: RunningService, origin: str):
    url = shared_service.url.replace("http:", "ws:") + "/ws"
    with pytest.raises(InvalidStatus) as refusal:
        connect(url, origin=Origin(origin), proxy=None)
    assert refusal.value.response.status_code == 403
    body = json.loads(refusal.value.response.body or b"{}")
    assert "CORS_ORIGINS" in body["detail"]
    for allowed in (Origin(LOCAL), Origin(shared_service.url)):
        with connect(url, origin=allowed, proxy=None) as socket:
            socket.send('{"type": "ping"}')
            assert socket.recv(10) == '{"type": "pong"}'


def test_webhooks_are_called_from_every_page_and_under_every_name(service: RunningService):
    service.save(HOOK, "hooked")
    sent = {"Origin": EVIL, "Host": "hooks.example"}
    response = service.http.post("/api/webhook/hooked", json={"id": 7}, headers=sent)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers
    asked = {**sent, "Access-Control-Request-Method": "POST"}
    assert service.http.options("/api/webhook/hooked", headers=asked).status_code == 200


@pytest.mark.parametrize("path", ["/api/webhook/../executions", "//api/webhook/x", "/api/webhook"])
def test_a_path_that_only_looks_like_a_webhook_is_not_exempt(
    shared_service: RunningService, path: str
):
    port = shared_service.url.rpartition(":")[2].encode()
    request = f"POST {path} HTTP/1.1\r\nHost: evil.example:".encode() + port
    response = raw(shared_service, request + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    # The router matches the first path as a webhook, whose workflow does not exist.
    assert response.split(b" ")[1] == (b"404" if ".." in path else b"421")


# Responses that a page can read


def preflight(service: RunningService, origin: str) -> httpx.Response:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type,x-api-key",
    }
    return service.http.options("/api/workflows/w", headers=asked)


@pytest.mark.parametrize("origin", [LOCAL, "https://localhost", "http://127.0.0.1:8080"])
def test_pages_of_this_machine_are_allowed_without_credentials(
    shared_service: RunningService, origin: str
):
    for response in (
        preflight(shared_service, origin),
        shared_service.http.get("/api/executions", headers={"Origin": origin}),
    ):
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-credentials" not in response.headers
        assert "Origin" in response.headers["vary"]


def test_listed_pages_may_send_credentials(listed: RunningService):
    for response in (
        preflight(listed, LISTED),
        listed.http.get("/api/executions", headers={"Origin": LISTED}),
        listed.http.get("/api/executions/none", headers={"Origin": LISTED}),
    ):
        assert response.headers["access-control-allow-origin"] == LISTED
        assert response.headers["access-control-allow-credentials"] == "true"
    local = listed.http.get("/", headers={"Origin": LOCAL})
    assert "access-control-allow-credentials" not in local.headers


def test_any_page_is_allowed_if_the_setting_says_so_and_never_with_credentials(tmp_path: Path):
    with RunningService(tmp_path, cors_origins=f"*, {LISTED}") as service:
        service.save(line(3))
        for origin in (EVIL, LISTED, "null"):
            response = service.http.post(
                "/api/workflows/execute", json={"workflowId": "w"}, headers={"Origin": origin}
            )
            assert response.status_code == 200
            assert response.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in response.headers
        assert service.http.get("/", headers={"Host": "evil.example"}).status_code == 421


def test_a_foreign_page_reads_nothing_and_its_preflight_names_the_setting(
    shared_service: RunningService,
):
    refused = preflight(shared_service, EVIL)
    assert "CORS_ORIGINS" in problem_of(refused, 403)["detail"]
    for response in (refused, shared_service.http.get("/", headers={"Origin": EVIL})):
        assert "access-control-allow-origin" not in response.headers
        assert "Origin" in response.headers["vary"]


def test_every_error_reaches_the_page_that_caused_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    settings: dict[str, Any] = {"api_keys": ENTRIES, "cors_origins": LISTED}
    with RunningService(tmp_path, max_request_body_bytes=2_048, **settings) as service:
        monkeypatch.setattr("database.queries.listings.Listings.executions", fail)
        page = {"Origin": LISTED}
        admin, reader = {**page, **as_("admin")}, {**page, **as_("read")}
        http = service.http
        responses = {
            500: http.get("/api/executions", headers=admin),
            401: http.get("/api/executions", headers=page),
            403: http.post("/api/workflows/execute", json={}, headers=reader),
            404: http.get("/nothing-there", headers=admin),
            405: http.patch("/api/executions", headers=admin),
            413: http.post("/api/workflows", content=b"x" * 4_096, headers=admin),
            422: http.post("/api/workflows", json={}, headers=admin),
        }
        for status, response in responses.items():
            problem_of(response, status)
            assert response.headers["access-control-allow-origin"] == LISTED, status
    with RunningService(tmp_path, request_body_timeout_seconds=0.1, **settings) as service:
        slow = f"POST /api/webhook/w HTTP/1.1\r\nHost: x\r\nOrigin: {LISTED}\r\n"
        response = raw(service, slow.encode() + b"Content-Length: 9\r\n\r\n{")
        assert response.startswith(b"HTTP/1.1 408 ")
        assert f"access-control-allow-origin: {LISTED}".encode() in response.lower()


def test_a_rejected_host_reaches_the_page_that_used_it(shared_service: RunningService):
    sent = {"Origin": LOCAL, "Host": "evil.example"}
    for response in (
        shared_service.http.get("/", headers=sent),
        shared_service.http.options("/", headers={**sent, "Access-Control-Request-Method": "PUT"}),
    ):
        problem_of(response, 421)
        assert response.headers["access-control-allow-origin"] == LOCAL


@pytest.mark.parametrize("name", ["cors_origins", "allowed_hosts"])
def test_a_wrong_entry_stops_the_start_and_names_the_setting(name: str):
    settings = Settings(_env_file=None, **{name: "https://a.example/path"})  # pyright: ignore
    with pytest.raises(SettingsError, match=f"^{name.upper()}: 'https://a.example/path' should be"):
        create_app(settings)
