"""The run page: its files, their headers, and its access without a key."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.routes.ui import FILES
from tests.support.access import ENTRIES, as_
from tests.support.documents import line
from tests.support.problems import problem_of
from tests.support.service import RunningService

PAGE = (FILES / "index.html").read_bytes()
ASSETS = sorted(path.relative_to(FILES).as_posix() for path in (FILES / "assets").iterdir())


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("guarded"), api_keys=ENTRIES) as service:
        yield service


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/workflows", "/ui/executions/a%20b?tab=logs"])
def test_every_view_is_the_page(service: RunningService, path: str):
    response = service.http.get(path)
    assert response.content == PAGE
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"


def test_the_page_allows_scripts_and_requests_of_the_service_only(service: RunningService):
    policy = service.http.get("/ui").headers["content-security-policy"]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives["script-src"] == directives["connect-src"] == "'self'"
    assert directives["default-src"] == directives["frame-ancestors"] == "'none'"
    assert not re.search(rb"<script(?![^>]*\bsrc=)", PAGE)
    addresses = re.findall(rb"(?:src|href)=\"([^\"]+)\"", PAGE)
    assert addresses
    assert all(address.startswith(b"/ui/") for address in addresses)


def test_assets_are_permanent_and_compressed(service: RunningService):
    names = [name for name in ASSETS if name.endswith((".js", ".css"))]
    assert len(names) > 5
    for name in names:
        response = service.http.get(f"/ui/{name}")
        assert response.content == (FILES / name).read_bytes()
        assert response.headers["content-encoding"] == "gzip"
        assert "Accept-Encoding" in response.headers["vary"]
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        kind = "text/javascript" if name.endswith(".js") else "text/css"
        assert response.headers["content-type"].startswith(kind)


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("gzip;q=0", False), ("br", False)],
)
def test_the_client_chooses_the_compression(
    service: RunningService, accepted: str, is_compressed: bool
):
    with service.http.stream("GET", "/ui", headers={"Accept-Encoding": accepted}) as response:
        raw = b"".join(response.iter_raw())
    assert ("content-encoding" in response.headers) is is_compressed
    assert (gzip.decompress(raw) if is_compressed else raw) == PAGE


def test_an_unchanged_file_is_not_sent_again(service: RunningService):
    for path in ("/ui", f"/ui/{ASSETS[0]}"):
        tag = service.http.get(path).headers["etag"]
        response = service.http.get(path, headers={"If-None-Match": tag})
        assert (response.status_code, response.content) == (304, b"")
        other = service.http.get(path, headers={"If-None-Match": '"other"'})
        assert other.status_code == 200


@pytest.mark.parametrize(
    "path", ["/ui/assets/none.js", "/ui/assets/..%2f..%2fui.py", "/ui/assets/%00"]
)
def test_an_unknown_asset_returns_a_404(service: RunningService, path: str):
    problem_of(service.http.get(path), 404)


@pytest.mark.parametrize("path", ["/ui/..%2f..%2fserver.py", "/ui/%2fetc%2fpasswd"])
def test_no_path_leaves_the_folder(service: RunningService, path: str):
    assert service.http.get(path).content == PAGE


def test_the_page_needs_no_key_but_its_requests_do(guarded: RunningService):
    assert guarded.http.get("/ui").content == PAGE
    assert guarded.http.head(f"/ui/{ASSETS[0]}").status_code == 200
    problem_of(guarded.http.get("/api/executions"), 401)
    assert guarded.http.get("/api/executions", headers=as_("read")).status_code == 200


def test_the_page_is_not_part_of_the_interface(service: RunningService):
    paths = service.http.get("/openapi.json").json()["paths"]
    assert not [path for path in paths if path.startswith("/ui")]


def test_files_with_a_wrong_method_are_rejected(service: RunningService):
    response: httpx.Response = service.http.post("/ui", json={})
    assert response.status_code == 405


def test_the_definition_is_that_of_the_submission(service: RunningService):
    document = line(4)
    service.save(document)
    execution = service.submit().json()["executionId"]
    service.ended(execution)
    service.save(line(2))
    body = service.http.get(f"/api/executions/{execution}/definition").json()
    assert [node["id"] for node in body["data"]["nodes"]] == [
        node["id"] for node in document["nodes"]
    ]
    assert body["executionId"] == execution
    assert body["workflowName"] == "A workflow"
    problem_of(service.http.get("/api/executions/unknown/definition"), 404)


def test_a_definition_shows_secrets_to_administrators_only(guarded: RunningService):
    graph = {
        "nodes": [
            {"id": "start", "type": "trigger", "config": {}},
            {"id": "hook", "type": "webhook", "config": {"webhookToken": "hidden-token"}},
        ],
        "connections": [],
    }
    started = guarded.http.post("/api/workflows/execute", json={"graph": graph}, headers=as_("run"))
    path = f"/api/executions/{started.json()['executionId']}/definition"
    assert "hidden-token" not in guarded.http.get(path, headers=as_("read")).text
    assert "hidden-token" in guarded.http.get(path, headers=as_("admin")).text


def test_the_built_files_are_part_of_the_package():
    assert Path(FILES).is_dir()
    assert (FILES / "icon.svg").is_file()
