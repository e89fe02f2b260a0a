"""Attacks: one function for each input that once blocked the service for all other clients.

``tests/api/test_attacks.py`` drives them as tests. As a script it prints a table with the worst
delay of an uninvolved client during each attack, for the service of another checkout too::

    python -m tests.support.attacks            # the service of this checkout
    python -m tests.support.attacks DIRECTORY  # the service of another one
"""

import base64
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.documents import document, node
from tests.support.ports import free_port
from tests.support.responsiveness import bystander, watch
from tests.support.servers import Request, Response, serving

MEGABYTE = 1_000_000
ATTACK_SECONDS = 20.0
"""Longest time for which the effect of one attack is watched."""
SECRETS = {
    f"SECRET_S{i}": "".join(random.Random(i).choices(string.ascii_letters + string.digits, k=40))
    for i in range(50)
}
"""Settings with fifty secrets, so that masking has something to look for."""

PUNYCODE = b"a-" + b"b9" * 500_000
"""A text that Python's codec of this name decodes in half a minute."""


async def answer(request: Request) -> Response:
    """A hostile server: the path selects the response."""
    if "punycode" in request.path:
        return Response(
            500 if request.path.startswith("/v1") else 200,
            PUNYCODE.decode(),
            {"Content-Type": "text/plain; charset=punycode"},
        )
    if "large" in request.path:
        return Response.of({"text": "x" * 9 * MEGABYTE})
    if "numbers" in request.path:
        return Response(200, f"[{','.join('1' * 4_500_000)}]", {"Content-Type": "application/json"})
    if "base64" in request.path:
        text = base64.b64encode(random.Random(1).randbytes(7 * MEGABYTE)).decode()
        return Response.of({"text": text})
    if "date" in request.path:
        when = "Thu, 01 Jan 99999999999999999999 00:00:00 GMT"
        return Response(429, "slow down", {"Retry-After": when})
    return Response(429, "slow down", {"Retry-After": "999999999"})


@dataclass(frozen=True, slots=True)
class Target:
    """The service under attack, and the hostile server that its nodes call."""

    http: httpx.Client
    hostile: str

    def execute(self, graph: dict[str, Any], **inputs: Any) -> str | None:
        """Submit an unsaved workflow; return its id, or None if it is rejected."""
        body = {"graph": graph, "inputs": inputs}
        response = self.http.post("/api/workflows/execute", json=body)
        return response.json()["executionId"] if response.status_code == 200 else None

    def run(self, graph: dict[str, Any], **inputs: Any) -> str | None:
        """Submit an unsaved workflow and watch it until it ends, or long enough."""
        if (execution_id := self.execute(graph, **inputs)) is None:
            return None
        deadline = time.monotonic() + ATTACK_SECONDS
        while time.monotonic() < deadline:
            with suppress(httpx.TimeoutException):
                status = self.http.get(f"/api/executions/{execution_id}").json()["status"]
                if status not in ("pending", "running"):
                    return execution_id
            time.sleep(0.05)  # between two looks; the condition is awaited
        with suppress(httpx.TimeoutException):
            self.http.post(f"/api/executions/{execution_id}/cancel")
        return execution_id

    def preview(self, node_type: str, config: dict[str, Any], data: object = None) -> int:
        """Run a single node; return the status of the response."""
        body = {
            "workflowId": "w",
            "nodeId": "n",
            "nodeType": node_type,
            "node": {"config": config},
            "inputData": data,
        }
        return self.http.post("/api/nodes/execute", json=body).status_code


def form_in_a_rare_charset(target: Target) -> None:
    """A1: an anonymous form whose charset is not one of the web."""
    workflow = {"id": "open", "name": "Open", "data": document(node("hook", "webhook"))}
    target.http.post("/api/workflows", json=workflow)
    part = b'--b\r\nContent-Disposition: form-data; name="f-"\r\n\r\n'
    body = part + b"a-" + b"b9" * 200_000 + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b; charset=punycode"
    target.http.post("/api/webhook/open", content=body, headers={"Content-Type": kind})


def response_in_a_rare_charset(target: Target) -> None:
    """A2: a server answers with a text in a charset that takes minutes to decode."""
    url = f"{target.hostile}/punycode"
    target.run(document(node("call", "http", httpUrl=url, timeoutSeconds=3, retries=0)))


def model_error_in_a_rare_charset(target: Target) -> None:
    """A2: the same in an error of the model server, whose address ends with ``punycode``."""
    target.run(document(node("ask", "llm", llmPrompt="Hi", timeoutSeconds=3, retries=0)))


def template_that_reads_much(target: Target) -> None:
    """A3: many small results of filters over a large list."""
    texts = ["{{ l|join('')|length }}"] * 300
    graph = document(
        node("start", "trigger"),
        node("add", "addField", addFieldValue=texts, timeoutSeconds=3),
        flow=("start -> add",),
    )
    target.run(graph, l=[1] * 200_000)


def data_that_doubles(target: Target) -> None:
    """A4: every node of a chain doubles its input."""
    names = [f"n{i}" for i in range(22)]
    graph = document(
        node("start", "trigger"),
        *(node(name, "addField", addFieldName=name, addFieldValue="{{ input }}") for name in names),
        flow=("start -> n0", *(f"n{i} -> n{i + 1}" for i in range(21))),
    )
    target.run(graph, text="x" * 200)


def previews_with_large_responses(target: Target) -> None:
    """A5: a hundred single-node runs at the same time, each with a response of 9 MB."""
    config = {"httpUrl": f"{target.hostile}/large", "retries": 0}
    with ThreadPoolExecutor(100) as threads:
        list(threads.map(lambda _: target.preview("http", config), range(100)))


def logs_with_large_payloads(target: Target) -> None:
    """A6: the logs of an execution that stored as much as it may."""
    nodes = [node(f"n{i}", "http", httpUrl=f"{target.hostile}/large", retries=0) for i in range(6)]
    if execution_id := target.run(document(*nodes)):
        for _ in range(3):
            target.http.get(f"/api/executions/{execution_id}/logs")
            target.http.get(f"/api/executions/{execution_id}")


def pauses_that_servers_ask_for(target: Target) -> None:
    """A7: more executions than there are slots wait for a server that asks for a long pause."""
    graph = document(node("call", "http", httpUrl=f"{target.hostile}/later"))
    started = [target.execute(graph) for _ in range(20)]
    time.sleep(2)  # the time for which the bystander is watched beside them
    for execution_id in filter(None, started):
        target.http.post(f"/api/executions/{execution_id}/cancel")


def document_with_many_nodes(target: Target) -> None:
    """A8: thousands of nodes that may all start at the same time."""
    for count in (20_000, 5_000):
        nodes = [node(f"n{i}", "addField", addFieldValue="x") for i in range(count)]
        if target.run(document(*nodes)):
            return


def masking_of_a_large_response(target: Target) -> None:
    """A9: a response of 10 MB of base64, while fifty secrets are known."""
    url = f"{target.hostile}/base64"
    target.run(document(node("call", "http", httpUrl=url, retries=0, timeoutSeconds=15)))


def document_with_many_problems(target: Target) -> None:
    """A10: a document of 100,000 invalid nodes is validated."""
    nodes = [{"id": f"n{i % 7}", "type": "nope"} for i in range(100_000)]
    target.http.post("/api/workflows/validate", json={"graph": {"nodes": nodes}})


def date_beyond_the_calendar(target: Target) -> None:
    """A11: ``Retry-After`` names a date that no calendar has."""
    url = f"{target.hostile}/date"
    target.run(document(node("call", "http", httpUrl=url, retries=0)))


def json_of_many_numbers(target: Target) -> None:
    """The worst JSON of 9 MB: millions of numbers, as a response and as a request."""
    url = f"{target.hostile}/numbers"
    target.run(document(node("call", "http", httpUrl=url, retries=0, timeoutSeconds=15)))
    target.preview("addField", {"addFieldValue": "{{ input | length }}"}, [1] * 4_500_000)


ATTACKS: dict[str, Callable[[Target], None]] = {
    "A1 form in a rare charset": form_in_a_rare_charset,
    "A2 response in a rare charset": response_in_a_rare_charset,
    "A2 model error in a rare charset": model_error_in_a_rare_charset,
    "A3 template that reads much": template_that_reads_much,
    "A4 data that doubles": data_that_doubles,
    "A5 previews with large responses": previews_with_large_responses,
    "A6 logs with large payloads": logs_with_large_payloads,
    "A7 pauses that servers ask for": pauses_that_servers_ask_for,
    "A8 document with many nodes": document_with_many_nodes,
    "A9 masking of a large response": masking_of_a_large_response,
    "A10 document with many problems": document_with_many_problems,
    "A11 date beyond the calendar": date_beyond_the_calendar,
    "JSON of many numbers": json_of_many_numbers,
}
"""Every case by its number in the list of hostile inputs."""


def hostile_server() -> AbstractContextManager[str]:
    """Run the hostile server in a thread; yield its address."""
    return serving(answer)


def settings_of(hostile: str) -> dict[str, Any]:
    """Return the settings that the attacks need, besides the defaults."""
    return {
        "http_allowed_hosts": "127.0.0.1",
        "openai_api_key": "sk-0123456789abcdef",
        "openai_base_url": f"{hostile}/v1/punycode",
        **SECRETS,
    }


@contextmanager
def service_of(checkout: Path, hostile: str) -> Iterator[str]:
    """Start the service of a checkout with this interpreter; yield its address."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        values = {
            "api_host": "127.0.0.1",
            "api_port": port,
            "database_path": f"{directory}/database.sqlite",
            "prefect_home": f"{directory}/prefect",
            **settings_of(hostile),
        }
        environment = {name.upper(): str(value) for name, value in values.items()}
        process = subprocess.Popen(
            [sys.executable, "start_service.py"],
            cwd=checkout,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with suppress(httpx.HTTPError):
                    if httpx.get(url).status_code == 200:
                        break
                time.sleep(0.1)  # between two looks; the condition is awaited
            yield url
        finally:
            process.kill()
            process.wait()


def main() -> None:
    """Print the worst delays of the bystander, at rest and during each attack."""
    checkout = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    wanted = sys.argv[2:]
    print("| case | GET / at rest | under attack | execution at rest | under attack |")
    print("| --- | --- | --- | --- | --- |")
    for name, attack in ATTACKS.items():
        if wanted and not any(name.startswith(f"{part} ") for part in wanted):
            continue
        with hostile_server() as hostile, service_of(checkout, hostile) as url:
            rest = watch(url)
            with httpx.Client(base_url=url, timeout=150, trust_env=False) as client:
                client.headers["Content-Type"] = "application/json"
                with bystander(url) as probe:
                    try:
                        attack(Target(client, hostile))
                    except (httpx.HTTPError, json.JSONDecodeError) as error:
                        print(f"{name}: {type(error).__name__}", file=sys.stderr)
            delays = probe.delays
            seconds = (
                *(rest.worst_request, max(delays.requests, default=150)),
                *(rest.worst_execution, max(delays.executions, default=150)),
            )
            shown = " | ".join(f"{value * 1000:,.0f} ms" for value in seconds)
            print(f"| {name} | {shown} |", *delays.failures, flush=True)


if __name__ == "__main__":
    main()
