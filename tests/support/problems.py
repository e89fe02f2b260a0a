"""What every refusal has in common: a problem document, and tables as they were."""

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
    """How many rows each table has."""
    return {table: service.rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


def problem_of(answer: httpx.Response, status: int = 422) -> dict[str, Any]:
    """The problem document of an answer, which has everything that every one must have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert problem["status"] == status
    assert isinstance(problem["detail"], str)
    assert problem["detail"]
    return problem
