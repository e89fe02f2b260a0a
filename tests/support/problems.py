"""Problem documents: checks the parts that every error response has."""

from typing import Any

import httpx

from tests.support.service import RunningService

TABLES = (
    "workflows",
    "workflow_executions",
    "execution_logs",
    "orchestrator_runs",
    "orchestrator_definitions",
)


def row_counts(service: RunningService) -> dict[str, int]:
    """Return the number of rows of each table."""
    return {table: service.rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


def problem_of(response: httpx.Response, status: int = 422) -> dict[str, Any]:
    """Return the problem document of a response after checking its required fields."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert problem["status"] == status
    assert isinstance(problem["detail"], str)
    assert problem["detail"]
    return problem
