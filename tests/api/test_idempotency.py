"""Idempotency keys: two requests with the same key are one execution."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.documents import line
from tests.support.main_project import create_main_database
from tests.support.postgres import Storage, on_both
from tests.support.service import RunningService

pytestmark = pytest.mark.behavior


def post(service: RunningService, key: str, **body: object):
    return service.http.post(
        "/api/workflows/execute",
        json={"workflowId": "w", **body},
        headers={"Idempotency-Key": key},
    )


def count(service: RunningService) -> int:
    return service.rows("SELECT count(*) FROM workflow_executions")[0][0]


@on_both()
def test_fifty_at_once_with_one_key_are_one_execution(service: RunningService) -> None:
    service.save(line(3))
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: post(service, "k", inputs={"a": 1}), range(50)))
    assert {response.status_code for response in answers} == {200}
    assert len({response.json()["executionId"] for response in answers}) == 1
    assert count(service) == 1


@on_both()
def test_another_body_with_the_same_key_is_rejected(service: RunningService) -> None:
    service.save(line(3))
    assert post(service, "k", inputs={"a": 1, "b": 2}).status_code == 200
    assert post(service, "k", inputs={"b": 2, "a": 1}).status_code == 200
    refused = post(service, "k", inputs={"a": 2})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["code"] == "idempotency_key_reused"
    assert count(service) == 1


@on_both()
def test_a_key_outlives_a_restart_and_a_change_of_the_workflow(
    tmp_path: Path, storage: Storage
) -> None:
    with RunningService(tmp_path, **storage) as service:
        service.save(line(3))
        first = post(service, "k").json()["executionId"]
        service.ended(first)
    with RunningService(tmp_path, **storage) as service:
        service.save("{}")
        assert post(service, "k").json()["executionId"] == first


def test_organizations_do_not_share_keys(tmp_path: Path) -> None:
    create_main_database(tmp_path / "database.sqlite")
    with RunningService(tmp_path) as service:
        service.save(line(2))
        ids = {
            post(service, "k", organizationId=org).json()["executionId"] for org in ("a", "b", "a")
        }
        assert len(ids) == 2


def test_without_a_key_every_request_is_its_own(service: RunningService) -> None:
    service.save(line(2))
    assert len({service.submit().json()["executionId"] for _ in range(3)}) == 3


def test_a_rejected_request_does_not_use_its_key(service: RunningService) -> None:
    service.save("{}")
    assert post(service, "k").status_code == 422
    service.save(line(2))
    assert post(service, "k").status_code == 200
