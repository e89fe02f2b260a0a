"""The page ``/docs``: it loads nothing from other servers."""

import re
from pathlib import Path

import pytest

from tests.support.access import ENTRIES, as_
from tests.support.service import RunningService

NAMED = re.compile(r"""(?:src|href)=["']([^"']+)["']""")


def test_the_docs_page_needs_no_network(shared_service: RunningService) -> None:
    page = shared_service.http.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
    named = NAMED.findall(page.text)
    kinds = [shared_service.http.get(path).headers["content-type"] for path in named]
    assert sorted(kind.partition(";")[0] for kind in kinds) == [
        "image/png",
        "text/css",
        "text/javascript",
    ]
    assert re.search(r"url: '/openapi\.json'", page.text)


def test_redoc_is_not_served(
    shared_service: RunningService,
) -> None:
    assert shared_service.http.get("/redoc").status_code == 404


@pytest.mark.parametrize("path", ["/docs/nothing.js", "/docs/../../api_service.py", "/docs/%2e%2e"])
def test_only_the_files_of_the_docs_page_are_served(
    shared_service: RunningService, path: str
) -> None:
    response = shared_service.http.get(path)
    assert response.status_code == 404


def test_the_docs_page_requires_a_key_if_keys_are_set(tmp_path: Path) -> None:
    with RunningService(tmp_path, api_keys=ENTRIES) as guarded:
        for path in ("/docs", "/docs/swagger-ui.css", "/docs/nothing.js"):
            assert guarded.http.get(path).status_code == 401, path
        page = guarded.http.get("/docs/swagger-ui.css", headers=as_("read"))
        assert page.status_code == 200
