"""URLs of the http node: a value changes only its part, and the literal text names the server."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from engine.document import Node
from tasks.http.url_templates import fill_url
from tasks.registry import DEFAULT
from tests.support.generated import examples
from tests.support.http_calls import OK, call, call_error, sent_request
from tests.support.servers import serve


@pytest.mark.parametrize(
    ("template", "data", "target"),
    [
        ("/users/{{ n }}/edit", "AC/DC #1?", "/users/AC%2FDC%20%231%3F/edit"),
        ("/s?q={{ n }}&page=1", "Tom & Co #1", "/s?q=Tom%20%26%20Co%20%231&page=1"),
        ("/s?q={{ n }}", "1+1=2%", "/s?q=1%2B1%3D2%25"),
        ("/s?{{ n }}=1", "a&b=c", "/s?a%26b%3Dc=1"),
        ("/{{ n }}", "a%2Fb", "/a%252Fb"),
        ("/{{ n }}", "Zoë 日", "/Zo%C3%AB%20%E6%97%A5"),
        ("/{{ n }}", "a\r\nHost: evil", "/a%0D%0AHost%3A%20evil"),
        ("/{{ n }}", {"a": [1]}, "/%7B%22a%22%3A%5B1%5D%7D"),
        ("/{{ n }}.json", "..", "/...json"),
        ("/{{ n }}#{{ n }}", "x#y?z", "/x%23y%3Fz"),
        ("/v{{ n }}", 1, "/v1"),
        ("/s?q={{ n | upper }}", "a&b", "/s?q=A%26B"),
        ("/{{ n | urlencode }}", "a b/c", "/a%20b%2Fc"),
        ("/s?q={{ n | urlencode }}", "a&b=c%", "/s?q=a%26b%3Dc%25"),
        ("/s?{{ n | urlencode }}&z=1", {"a": "1&2", "b": ["x=y", 3]}, "/s?a=1%262&b=x%3Dy&b=3&z=1"),
        ("/s?q={{ n | urlencode }}", {"a": 1, "b": 2}, "/s?q=a%3D1%26b%3D2"),
    ],
)
async def test_a_value_is_encoded_for_its_position(template: str, data: Any, target: str):
    assert (await sent_request({"n": data}, path=template)).target == target


@pytest.mark.parametrize(
    "template",
    ["/a/{{ n }}/b", "/a/{{ n }}", "/a/{{ n }}{{ m }}/b", "/a/.{{ m }}/b", "/{{ n }};v=1"],
)
async def test_a_value_cannot_address_a_parent_path(template: str):
    async with serve(OK) as server:
        data = {"n": ".", "m": "."} if "m" in template else {"n": ".."}
        error = await call_error(server.url + template, data)
        assert server.requests == []
    assert "would remove another segment" in str(error)
    assert not error.retryable


HOST_FROM_DATA = [
    "http://api.example{{ p }}",
    "http://api.example{{ p }}/x",
    "http://{{ p }}",
    "http://{{ p }}/x",
    "http://{{ p }}.example/x",
    "http://api.{{ p }}.example/",
    "http://user@{{ p }}/",
    "http://api.example:80{{ p }}/",
    "http://api.example:{{ p }}0/",
    "http://[{{ p }}]/",
    "http://api.example\\{{ p }}",
    "{{ p }}://api.example/",
    "http{{ p }}://api.example/",
    "http:{{ p }}",
    "http:/{{ p }}",
    "{{ p }}/x",
    "{{ p }}{{ q }}",
    "x{{ p }}",
]


@pytest.mark.parametrize("template", HOST_FROM_DATA)
def test_a_url_whose_host_is_data_is_rejected_at_submission(template: str):
    problems = DEFAULT.check(Node("n", "http", "N", {"httpUrl": template}))
    assert [(problem.code, problem.node_id) for problem in problems] == [("invalid_config", "n")]
    assert "'httpUrl' should " in problems[0].detail


@pytest.mark.parametrize("template", HOST_FROM_DATA)
async def test_a_url_whose_host_is_data_is_not_called(template: str):
    async with serve(OK) as server:
        auth = {"type": "bearer", "token": "s3cret"}
        data = {"p": f"@127.0.0.1:{server.port}/x", "q": ""}
        await call_error(template, data, httpAuth=auth)
        data = {"p": f"127.0.0.1:{server.port}", "q": ""}
        await call_error(template, data, httpAuth=auth)
        assert server.requests == []


@pytest.mark.parametrize("template", ["{{ links.stock }}", "  {{ links.stock | trim }}  "])
async def test_a_whole_url_may_be_data(template: str):
    async with serve(OK) as server:
        await call(template, {"links": {"stock": f"{server.url}/stock?a=b c&d=%20"}})
        assert server.last.target == "/stock?a=b%20c&d=%20"


async def test_a_valid_port_may_be_data():
    async with serve(OK) as server:
        await call("http://127.0.0.1:{{ port }}/x", {"port": server.port})
        assert server.last.path == "/x"
        for port in (f"{server.port}@evil.example", "80/x", "", "-1", "٣", "999999"):
            error = await call_error("http://127.0.0.1:{{ port }}/x", {"port": port})
            assert "port of digits" in str(error)
        assert len(server.requests) == 1


async def test_user_and_password_may_be_data():
    async with serve(OK) as server:
        url = f"http://{{{{ u }}}}:{{{{ p }}}}@127.0.0.1:{server.port}/"
        await call(url, {"u": "ann@x:y", "p": "a/b@evil.example"})
        assert server.last.headers["authorization"].startswith("Basic ")
        assert server.last.headers["host"] == f"127.0.0.1:{server.port}"


async def test_a_url_that_becomes_too_long_is_an_error():
    error = await call_error("http://127.0.0.1/{{ n }}", {"n": "x" * 70_000})
    assert "should have at most 65536 characters" in str(error)
    error = await call_error("http://127.0.0.1/", {"n": "x" * 70_000}, httpQuery={"n": "{{ n }}"})
    assert "httpQuery" in str(error)


VALUES = st.text(max_size=12) | st.sampled_from(
    [
        "/",
        "//",
        "?",
        "#",
        "&a=b",
        "@evil",
        ":80",
        "%2e%2e",
        "%",
        "a b",
        "\r\n",
        "\\",
        ";x",
        "+",
        "=",
    ]
)
POSITIONS = (
    "http://h.example:8080/a/{{ v }}/b?q=1&r=2#f",
    "http://h.example:8080/a/p{{ v }}s/b?q=1&r=2#f",
    "http://h.example:8080/a/b?q={{ v }}&r=2#f",
    "http://h.example:8080/a/b?q=x{{ v }}y&r=2#f",
    "http://h.example:8080/a/b?q=1&{{ v }}=2#f",
    "http://h.example:8080/a/b?q=1&r=2#{{ v }}",
    "http://{{ v }}:p@h.example:8080/a/b?q=1&r=2#f",
    "http://u:{{ v }}@h.example:8080/a/b?q=1&r=2#f",
)


@examples(300, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(POSITIONS), VALUES)
def test_a_value_changes_no_other_part(template: str, value: str):
    if value in {".", ".."} and "/{{ v }}/" in template:
        return  # see test_a_value_cannot_address_a_parent_path
    url = fill_url("httpUrl", template, {"v": value})
    got, plain = urlsplit(str(url)), urlsplit(template.replace("{{ v }}", "@"))
    assert (got.scheme, got.hostname, got.port) == ("http", "h.example", 8080)

    def parts(split: Any) -> list[str]:
        userinfo = split.netloc.rpartition("@")[0]
        pairs = parse_qsl(split.query, keep_blank_values=True)
        return [
            *(unquote(part) for part in userinfo.split(":")),
            *(unquote(segment) for segment in split.path.split("/")),
            *(text for pair in pairs for text in pair),
            unquote(split.fragment),
        ]

    expected = [part.replace("@", value) for part in parts(plain)]
    assert parts(got) == expected


@examples(25, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, VALUES)
async def test_a_server_receives_each_value_at_its_position(segment: str, value: str):
    if segment in {".", ".."}:
        return
    async with serve(OK) as server:
        url = f"{server.url}/a/{{{{ s }}}}/b?q={{{{ v }}}}&r=2"
        await call(url, {"s": segment, "v": value}, httpQuery={"t": "{{ v }}"})
        path = [unquote(part) for part in server.last.target.partition("?")[0].split("/")]
        assert path == ["", "a", segment, "b"]
        assert server.last.query == [("q", value), ("r", "2"), ("t", value)]


@pytest.mark.parametrize("template", POSITIONS)
def test_values_in_the_other_parts_are_accepted_at_submission(template: str):
    assert DEFAULT.check(Node("n", "http", "N", {"httpUrl": template})) == []
