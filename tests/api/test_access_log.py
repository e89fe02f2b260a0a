"""Access log, and the paths that browsers and health checks request automatically."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.access_log import MAX_PATH_CHARACTERS, logged_path
from tests.support.access import ENTRIES, as_, key_of
from tests.support.documents import document, line, node
from tests.support.problems import problem_of
from tests.support.service import RunningService, wait_until

HOOK = document(
    node("hook", "webhook", webhookToken="t0ken-of-the-hook"), node("end"), flow=("hook -> end",)
)
LIMITS: dict[str, Any] = {
    "max_request_body_bytes": 2_048,
    "max_concurrent_executions": 1,
    "max_pending_executions": 1,
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("guarded"), api_keys=ENTRIES, **LIMITS) as service:
        yield service


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Return the events of the access log."""
    monkeypatch.setattr("api.access_log.log", structlog.get_logger("access"))
    with capture_logs() as events:
        yield events


def lines_of(events: list[Any], path: str, count: int = 1) -> list[Any]:
    """Return the events of a path, as soon as ``count`` of them are logged."""

    def logged() -> list[Any]:
        matching = [event for event in events if event.get("path") == path]
        return matching if len(matching) >= count else []

    return wait_until(logged)


def test_every_rejected_request_is_logged(guarded: RunningService, logged: list[Any]):
    http, admin = guarded.http, as_("admin")
    large = b"x" * 4_096
    rejected = {
        ("GET", "/api/executions", 401): http.get("/api/executions"),
        ("POST", "/api/workflows", 403): http.post("/api/workflows", json={}, headers=as_("read")),
        ("GET", "/nothing-there", 404): http.get("/nothing-there", headers=admin),
        ("PATCH", "/", 405): http.patch("/", headers=admin),
        ("POST", "/api/workflows/validate", 413): http.post(
            "/api/workflows/validate", content=large, headers=admin
        ),
        ("POST", "/api/nodes/execute", 422): http.post(
            "/api/nodes/execute", json={}, headers=admin
        ),
    }
    for (method, path, status), response in rejected.items():
        assert response.status_code == status, path
        (line_,) = lines_of(logged, path)
        assert line_["event"] == "request_rejected"
        assert (line_["method"], line_["status"]) == (method, status)
        assert line_["log_level"] == "info"
        assert line_["client"] == "127.0.0.1"
        assert line_["duration_ms"] >= 0
        assert line_.get("caller") == {401: None, 403: "read"}.get(status, "admin")
    assert key_of("admin") not in str(logged)


def test_a_full_queue_and_foreign_hosts_and_pages_are_logged(
    service: RunningService, logged: list[Any]
):
    assert service.http.get("/docs", headers={"Host": "evil.example"}).status_code == 421
    assert lines_of(logged, "/docs")[0]["status"] == 421
    page = {"Origin": "https://evil.example"}
    assert service.http.post("/api/workflows", json={}, headers=page).status_code == 403
    assert lines_of(logged, "/api/workflows")[0]["event"] == "request_rejected"
    with pytest.raises(InvalidStatus):
        connect(service.url.replace("http:", "ws:") + "/ws", additional_headers=page, proxy=None)
    (line_,) = lines_of(logged, "/ws")
    assert (line_["method"], line_["status"]) == ("WEBSOCKET", 403)


def test_an_internal_error_is_logged_with_one_traceback(
    service: RunningService, logged: list[Any], monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("database.queries.listings.Listings.executions", fail)
    assert service.http.get("/api/executions").status_code == 500
    (line_,) = lines_of(logged, "/api/executions")[-1:]
    assert line_["event"] in ("request_failed", "unexpected_error")


def test_writes_are_logged_as_info_and_reads_as_debug(service: RunningService, logged: list[Any]):
    service.save(line(3))
    service.submit()
    (submitted,) = lines_of(logged, "/api/workflows/execute")
    assert (submitted["event"], submitted["log_level"]) == ("request_completed", "info")
    service.http.get("/api/executions")
    (read,) = lines_of(logged, "/api/executions")
    assert (read["event"], read["log_level"]) == ("request_completed", "debug")


def test_tokens_of_webhooks_and_of_queries_are_not_logged(
    service: RunningService, logged: list[Any]
):
    service.save(HOOK, "hooked")
    for path, status in (
        ("/api/webhook/hooked/t0ken-of-the-hook", 200),
        ("/api/webhook/hooked/t0ken-guessed", 404),
        ("/api/webhook/hooked%2Ft0ken-of-the-hook", 200),
    ):
        assert service.http.post(path, json={}).status_code == status
    assert len(lines_of(logged, "/api/webhook/hooked/***", 3)) == 3
    service.http.get("/api/executions/none", params={"token": "t0ken-in-a-query"})
    lines_of(logged, "/api/executions/none")
    assert "t0ken" not in str([event for event in logged if "path" in event])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/executions/a b", "/api/executions/a%20b"),
        ("/a\nlevel=error forged", "/a%0Alevel=error%20forged"),
        ("/\x1b[31m", "/%1B%5B31m"),
        ("/ü", "/%C3%BC"),
        ("/api/webhook/w", "/api/webhook/w"),
        ("/task/a.b.c", "/task/***"),
        ("/api/webhook/w/token", "/api/webhook/w/***"),
        ("/api/webhook/a/b/token", "/api/webhook/a/b/***"),
        ("/x/api/webhook/w/token", "/x/api/webhook/w/token"),
    ],
)
def test_a_logged_path_has_one_line(path: str, expected: str):
    assert logged_path(path) == expected


def test_a_long_path_is_truncated():
    assert len(logged_path("/" + "x" * 10_000)) == MAX_PATH_CHARACTERS + 1


# Paths that browsers and health checks request automatically


@pytest.mark.parametrize("path", ["/health", "/healthz"])
def test_health_checks_require_no_key(guarded: RunningService, path: str):
    response = guarded.http.get(path)
    assert response.status_code == 200
    assert response.json()["status"] == "running"
    head = guarded.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    problem_of(guarded.http.post(path), 405)


def test_a_browser_that_requests_an_icon_gets_no_error(guarded: RunningService):
    response = guarded.http.get("/favicon.ico")
    assert (response.status_code, response.content) == (204, b"")


@pytest.mark.parametrize("path", ["/nothing-there", "/api", "/api/v1/executions", "/swagger"])
def test_the_404_of_an_unknown_path_names_the_documentation(service: RunningService, path: str):
    assert "/docs" in problem_of(service.http.get(path), 404)["detail"]


def test_the_404_of_an_unknown_id_names_the_id(service: RunningService):
    detail = problem_of(service.http.get("/api/executions/none"), 404)["detail"]
    assert detail == "Execution 'none' not found"
