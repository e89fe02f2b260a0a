"""Organizations: a key of organization A reads no data of organization B."""

from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from fastapi.routing import iter_route_contexts

from api.auth.tenancy import TenantScopeDep
from api_service import create_app
from config import Settings
from tests.support.access import ENTRIES, caller
from tests.support.documents import document, line, node
from tests.support.postgres import storage_on
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.problems import problem_of
from tests.support.service import RunningService, wait_until

WAITS = document(node("ask", "approval"), node("end"), flow=("ask -true-> end",))


class TwoOrganizations:
    """Run a service with a workflow and an execution of A, of B and without an organization."""

    def __init__(self, service: RunningService) -> None:
        self.service = service
        self.a, self.b, self.all = (caller(service, n) for n in ("a-admin", "b-admin", "admin"))
        self.executions: dict[str, str] = {}
        for organization, client in (("A", self.a), ("B", self.b), ("none", self.all)):
            body = {"id": f"of-{organization}", "name": organization, "data": WAITS}
            assert client.post("/api/workflows", json=body).status_code == 201
            response = client.post(
                "/api/workflows/execute",
                json={"workflowId": f"of-{organization}"},
                headers={"Idempotency-Key": "same"},
            )
            self.executions[organization] = response.json()["executionId"]
        for execution_id in self.executions.values():
            path = f"/api/executions/{execution_id}"
            wait_until(lambda path=path: self.all.get(path).json()["status"] == "waiting")

    def close(self) -> None:
        for client in (self.a, self.b, self.all):
            client.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def two(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TwoOrganizations]:
    directory = tmp_path_factory.mktemp("two")
    with (
        storage_on(request) as storage,
        RunningService(directory, PROBE_TYPES, api_keys=ENTRIES, **storage) as service,
    ):
        both = TwoOrganizations(service)
        yield both
        both.close()


ABOUT_EXECUTIONS = [
    ("GET", ""),
    ("GET", "/logs"),
    ("GET", "/stream"),
    ("POST", "/cancel"),
    ("POST", "/rerun"),
    ("POST", "/nodes/ask/resume"),
    ("POST", "/token"),
]
ABOUT_WORKFLOWS = [("GET", ""), ("GET", "/executions"), ("PUT", ""), ("DELETE", "?force=true")]


@pytest.mark.parametrize("whose", ["B", "none"])
@pytest.mark.parametrize(("method", "rest"), ABOUT_EXECUTIONS)
def test_the_executions_of_others_are_not_there(
    two: TwoOrganizations, method: str, rest: str, whose: str
):
    body = {} if method == "POST" else None
    details = []
    for execution_id in (two.executions[whose], "nothing-there"):
        response = two.a.request(method, f"/api/executions/{execution_id}{rest}", json=body)
        details.append(problem_of(response, 404)["detail"].replace(execution_id, "…"))
    assert details == ["Execution '…' not found"] * 2
    before = two.all.get(f"/api/executions/{two.executions[whose]}").json()
    assert (before["status"], before["cancelRequested"]) == ("waiting", False)


@pytest.mark.parametrize("whose", ["B", "none"])
@pytest.mark.parametrize(("method", "rest"), ABOUT_WORKFLOWS)
def test_the_workflows_of_others_are_not_there(
    two: TwoOrganizations, method: str, rest: str, whose: str
):
    body = {"name": "mine now", "data": {}} if method == "PUT" else None
    details = []
    for workflow_id in (f"of-{whose}", "nothing-there"):
        response = two.a.request(method, f"/api/workflows/{workflow_id}{rest}", json=body)
        details.append(problem_of(response, 404)["detail"].replace(workflow_id, "…"))
    assert details == ["Workflow '…' not found"] * 2
    assert two.all.get(f"/api/workflows/of-{whose}").json()["name"] == whose


@pytest.mark.parametrize("whose", ["B", "none"])
def test_the_workflows_of_others_do_not_run(two: TwoOrganizations, whose: str):
    response = two.a.post("/api/workflows/execute", json={"workflowId": f"of-{whose}"})
    assert problem_of(response, 404)["detail"] == f"Workflow 'of-{whose}' not found"


@pytest.mark.parametrize("whose", ["B", "none"])
def test_the_workflows_of_others_are_not_validated(two: TwoOrganizations, whose: str):
    claim = {"workflowId": f"of-{whose}"}
    response = two.a.post("/api/workflows/validate", json=claim)
    assert problem_of(response, 404)["detail"] == f"Workflow 'of-{whose}' not found"
    own = two.a.post("/api/workflows/validate", json={"workflowId": "of-A"})
    assert own.json() == {"valid": True, "errors": [], "warnings": []}


def test_an_execution_of_a_webhook_has_the_organization_of_its_workflow(
    two: TwoOrganizations,
):
    hook = document(node("hook", "webhook"), node("end"), flow=("hook -> end",))
    body = {"id": "hook-of-B", "name": "n", "data": hook}
    assert two.b.post("/api/workflows", json=body).status_code == 201
    response = two.service.http.post("/api/webhook/hook-of-B", json={})
    path = f"/api/executions/{response.json()['executionId']}"
    assert two.b.get(path).json()["organizationId"] == "B"
    assert two.a.get(path).status_code == 404


def test_a_key_reads_its_organization_and_an_unrestricted_key_reads_all(two: TwoOrganizations):
    for client, own in ((two.a, {"A"}), (two.b, {"B"}), (two.all, {"A", "B", "none"})):
        for organization in own:
            execution_id = two.executions[organization]
            assert client.get(f"/api/executions/{execution_id}").status_code == 200
            assert client.get(f"/api/workflows/of-{organization}").status_code == 200


def test_lists_contain_only_the_organization_of_the_caller(two: TwoOrganizations):
    def listed(client: Any, path: str, key: str) -> set[str]:
        response = client.get(path)
        assert response.status_code == 200, response.text
        return {item["organizationId"] for item in response.json()[key]}

    for query in ("", "?organizationId=", "?organizationId=A"):
        assert listed(two.a, f"/api/executions{query}", "executions") == {"A"}
        assert listed(two.a, f"/api/workflows{query}", "workflows") == {"A"}
    assert listed(two.a, "/api/executions?workflowId=of-B", "executions") == set()
    assert {"A", "B", None} <= listed(two.all, "/api/executions", "executions")
    assert {"A", "B", None} <= listed(two.all, "/api/workflows", "workflows")


@pytest.mark.parametrize(
    "path", ["/api/executions", "/api/workflows", "/api/events", "/api/events/kept"]
)
def test_a_list_of_another_organization_is_rejected(two: TwoOrganizations, path: str):
    for query in ("organizationId=B", "organizationId=A&organizationId=B"):
        detail = problem_of(two.a.get(f"{path}?{query}"), 403)["detail"]
        assert detail == "The key 'a-admin' is not for the organization 'B'"


def test_another_organization_in_a_body_is_rejected_and_nothing_is_stored(two: TwoOrganizations):
    before = two.all.get("/api/workflows?limit=1000").json()
    workflow = {"name": "n", "data": line(2), "organizationId": "B"}
    graph = {"graph": line(2), "organizationId": "B"}
    for method, path, body in (
        ("POST", "/api/workflows", workflow),
        ("PUT", "/api/workflows/of-A", workflow),
        ("POST", "/api/workflows/execute", graph),
        ("POST", "/api/workflows/execute", {"workflowId": "of-A", "organizationId": "B"}),
    ):
        problem_of(two.a.request(method, path, json=body), 403)
    assert two.all.get("/api/workflows?limit=1000").json() == before


def test_a_created_workflow_belongs_to_the_organization_of_the_caller(two: TwoOrganizations):
    for claim in ({}, {"organizationId": "A"}):
        response = two.a.post("/api/workflows/execute", json={"graph": line(2), **claim})
        execution_id = response.json()["executionId"]
        assert two.a.get(f"/api/executions/{execution_id}").json()["organizationId"] == "A"
        assert two.b.get(f"/api/executions/{execution_id}").status_code == 404
    done = wait_until(lambda: two.a.get(f"/api/executions/{execution_id}").json()["completedAt"])
    assert done
    rerun = two.a.post(f"/api/executions/{execution_id}/rerun", json={}).json()["executionId"]
    assert two.a.get(f"/api/executions/{rerun}").json()["organizationId"] == "A"
    assert two.b.get(f"/api/executions/{rerun}").status_code == 404


def test_an_idempotency_key_of_another_organization_reveals_nothing(two: TwoOrganizations):
    assert len(set(two.executions.values())) == 3  # all of them with the key "same"
    again = {"workflowId": "of-A"}
    response = two.a.post("/api/workflows/execute", json=again, headers={"Idempotency-Key": "same"})
    assert response.json()["executionId"] == two.executions["A"]
    sent = {"headers": {"Idempotency-Key": "graph"}, "json": {"graph": line(2)}}
    ids = [c.post("/api/workflows/execute", **sent).json()["executionId"] for c in (two.a, two.b)]
    assert ids[0] != ids[1]


def test_the_list_and_the_count_contain_only_executions_of_the_caller(two: TwoOrganizations):
    body = {"id": "shared", "name": "n", "data": line(2), "organizationId": "A"}
    assert two.all.post("/api/workflows", json=body).status_code == 201
    ids = {}
    for organization in ("A", "B"):
        run = {"workflowId": "shared", "organizationId": organization}
        response = two.all.post("/api/workflows/execute", json=run)
        ids[organization] = response.json()["executionId"]
    path = "/api/workflows/shared/executions"
    own, every = two.a.get(path).json(), two.all.get(path).json()
    assert ([item["id"] for item in own["executions"]], own["total"]) == ([ids["A"]], 1)
    assert ({item["id"] for item in every["executions"]}, every["total"]) == (
        set(ids.values()),
        2,
    )


def test_every_route_that_accepts_an_organization_checks_the_caller():
    app = create_app(Settings(_env_file=None))  # pyright: ignore[reportCallIssue]
    careless = []
    for route in iter_route_contexts(app.routes):
        hints = get_type_hints(route.endpoint, include_extras=True) if route.endpoint else {}
        hints.pop("return", None)
        taken = {
            name
            for hint in hints.values()
            for name in getattr(hint, "model_fields", {})
            if name in ("organization_id", "workflow_id", "execution_id")
        }
        if taken and TenantScopeDep not in hints.values():
            careless.append((route.path, taken))
    # The parameter is required but not resolved: docs/reference/http-api.md.
    assert careless == [("/api/nodes/execute", {"workflow_id"})]
