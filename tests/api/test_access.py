"""Permissions: every route, called with every role."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from api.auth.api_keys import Role
from api.auth.permissions import ROUTE_ROLES, SAFE_METHODS, TOKEN_ROUTES
from api_service import create_app
from config import Settings
from tests.support.access import ENTRIES, KEYS, as_, caller, entry_of, key_of, socket_of, token_for
from tests.support.documents import line
from tests.support.problems import problem_of
from tests.support.service import RunningService, wait_until


def every_route() -> list[tuple[str, str]]:
    app = create_app(Settings(_env_file=None))  # pyright: ignore[reportCallIssue]
    routes = [
        (method, str(route.path))
        for route in iter_route_contexts(app.routes)
        for method in sorted(route.methods or ())
    ]
    assert len(routes) > 20
    return routes


ROUTES = every_route()


def is_public(method: str, path: str) -> bool:
    if path in ("/health", "/healthz", "/health/live", "/health/ready", "/favicon.ico"):
        return True
    if path.startswith(("/ui", "/task/")):
        return True
    return (method, path) == ("GET", "/") or path.startswith("/api/webhook/")


def needed(method: str, path: str) -> Role:
    """Return the role that a route requires: that of the table, or that of its method."""
    return ROUTE_ROLES.get(f"{method} {path}", Role.READ if method in SAFE_METHODS else Role.ADMIN)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    directory = tmp_path_factory.mktemp("guarded")
    with RunningService(directory, api_keys=ENTRIES) as service:
        yield service


def ask(service: RunningService, route: tuple[str, str], headers: dict[str, str]) -> httpx.Response:
    """Call a route with unknown ids, without reading a stream."""
    method, path = route
    url = re.sub(r"{[^}]+}", "nothing-there", path)
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    sent = {**headers, "Content-Type": "application/json"}
    with service.http.stream(method, url, headers=sent, content=body) as response:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return response
        response.read()
        return response


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_every_route_except_health_and_webhooks_requires_a_key(
    guarded: RunningService, route: tuple[str, str]
):
    wrong = [
        {"Authorization": "Bearer wos_nobody-s"},
        {"Authorization": f"Bearer {key_of('admin')}x"},
        {"X-API-Key": "wos_nobody-s"},
        {"X-API-Key": ""},
        {"Authorization": "Bearer"},
    ]
    nothing = [{}, {"Authorization": f"Basic {key_of('admin')}"}]
    for headers in (*nothing, *wrong):
        response = ask(guarded, route, headers)
        if is_public(*route):
            assert response.status_code not in (401, 403)
        elif route[0] == "HEAD":
            assert response.status_code == 401
        else:
            assert "key" in problem_of(response, 401)["detail"]
            challenge = response.headers["www-authenticate"]
            assert challenge.startswith("Bearer")
            assert ("invalid_token" in challenge) == (headers in wrong)


@pytest.mark.parametrize("name", ["read", "run", "admin", "a-read", "a-run", "a-admin"])
@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_every_route_requires_its_role(guarded: RunningService, route: tuple[str, str], name: str):
    role = Role[KEYS[name][0].upper()]
    for headers in (as_(name), {"X-API-Key": key_of(name)}):
        response = ask(guarded, route, headers)
        assert response.status_code not in (401, 500)
        if role < needed(*route) and not is_public(*route):
            detail = problem_of(response, 403)["detail"]
            assert f"requires the role '{needed(*route).name.lower()}'" in detail
            assert name in detail
        elif route[1] == "/metrics" and KEYS[name][1] != "*":
            assert "all organizations" in problem_of(response, 403)["detail"]
        else:
            assert response.status_code != 403


def test_the_roles_of_the_routes_are_correct():
    wanted = {
        ("GET", "/api/executions"): Role.READ,
        ("POST", "/api/workflows/execute"): Role.RUN,
        ("POST", "/api/executions/{execution_id}/cancel"): Role.RUN,
        ("POST", "/api/executions/{execution_id}/rerun"): Role.RUN,
        ("POST", "/api/executions/{execution_id}/nodes/{node_id}/resume"): Role.RUN,
        ("POST", "/api/nodes/execute"): Role.RUN,
        ("POST", "/api/workflows"): Role.ADMIN,
        ("PUT", "/api/workflows/{workflow_id}"): Role.ADMIN,
        ("DELETE", "/api/workflows/{workflow_id}"): Role.ADMIN,
        ("POST", "/api/what/comes/next"): Role.ADMIN,
    }
    assert {route: needed(*route) for route in wanted} == wanted
    assert set(wanted) - set(ROUTES) == {("POST", "/api/what/comes/next")}


def test_the_permission_tables_name_existing_routes():
    existing = {f"{method} {path}" for method, path in ROUTES}
    assert set(ROUTE_ROLES) <= existing
    assert set(TOKEN_ROUTES) <= existing


def test_an_unknown_path_is_a_401_without_a_key_and_a_404_with_one(guarded: RunningService):
    assert guarded.http.get("/api/nothing").status_code == 401
    assert guarded.http.get("/api/nothing", headers=as_("read")).status_code == 404
    assert guarded.http.get("/api/webhook").status_code == 401
    assert guarded.http.post("/api/what/comes/next", headers=as_("run")).status_code == 403
    assert guarded.http.post("/api/what/comes/next", headers=as_("admin")).status_code == 404


def test_a_request_without_a_key_is_rejected_before_its_body_is_read(guarded: RunningService):
    response = guarded.http.post("/api/workflows/execute", content=b"{no json")
    problem_of(response, 401)
    response = guarded.http.post("/api/workflows", content=b"{no json", headers=as_("run"))
    problem_of(response, 403)


def test_a_key_in_the_query_is_ignored(guarded: RunningService):
    for path in ("/api/executions", "/api/executions/x/stream"):
        response = guarded.http.get(path, params={"token": key_of("admin")})
        assert response.status_code == 401


def test_keys_of_a_file_are_accepted(tmp_path: Path):
    (tmp_path / "keys").write_text(f"# ours\n{entry_of('run')}\n", encoding="utf-8")
    with RunningService(
        tmp_path, api_keys=entry_of("read"), api_keys_file=tmp_path / "keys"
    ) as service:
        service.save(line(3))
        body = {"workflowId": "w"}
        for name, status in (("read", 403), ("run", 200), ("admin", 401)):
            response = service.http.post("/api/workflows/execute", json=body, headers=as_(name))
            assert response.status_code == status


def test_the_openapi_document_describes_credentials_if_keys_are_set(
    guarded: RunningService, service: RunningService
):
    document = guarded.http.get("/openapi.json", headers=as_("read")).json()
    assert {"HTTPBearer", "APIKeyHeader", "ExecutionToken"} == set(
        document["components"]["securitySchemes"]
    )
    read = document["paths"]["/api/executions/{execution_id}"]["get"]
    assert read["security"] == [{"HTTPBearer": []}, {"APIKeyHeader": []}]
    assert {"401", "403", "413"} <= set(read["responses"])
    assert "security" not in document["paths"]["/"]["get"]
    assert "securitySchemes" not in service.http.get("/openapi.json").json()["components"]


def test_without_keys_every_credential_is_accepted(service: RunningService):
    service.save(line(3))
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"X-API-Key": "x"}):
        response = service.http.post(
            "/api/workflows/execute", json={"workflowId": "w"}, headers=headers
        )
        assert response.status_code == 200
    path = f"/api/executions/{response.json()['executionId']}"
    assert service.http.get(path, params={"token": "x"}).status_code == 200
    assert service.http.post(f"{path}/token").status_code == 200
    with socket_of(service) as socket:
        socket.send('{"type": "ping"}')
        assert socket.recv(5) == '{"type": "pong"}'


def test_neither_keys_nor_tokens_are_logged(
    guarded: RunningService, capfd: pytest.CaptureFixture[str]
):
    guarded.save(line(3))
    with caller(guarded, "run") as client:
        response = client.post("/api/workflows/execute", json={"workflowId": "w"})
    execution_id = response.json()["executionId"]
    token = token_for(guarded, execution_id)
    for credential in (token, token + "x"):
        path = f"/api/executions/{execution_id}/stream"
        with guarded.http.stream("GET", path, params={"token": credential}) as response:
            response.read()
    output = ""

    def is_logged() -> bool:
        nonlocal output
        output += "".join(capfd.readouterr())
        return "execution_finished" in output  # logged after the end of the stream

    wait_until(is_logged)
    assert token not in output
    assert key_of("run") not in output
