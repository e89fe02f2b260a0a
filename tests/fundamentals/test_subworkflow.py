"""Subworkflow: runs another workflow as a node."""

from tests.support.documents import document, node
from tests.support.service import RunningService


def test_a_node_runs_another_workflow(service: RunningService) -> None:
    """The other workflow runs as an execution of its own; its output is the node's output."""
    greet = node("greet", "addField", addFieldName="text", addFieldValue="Hello {{ name }}")
    steps = ("in -> greet", "greet -> out")
    greeting = document(node("in", "trigger"), greet, node("out"), flow=steps)
    service.save(greeting, "greeting")
    nodes = [node("start", "trigger"), node("call", "subworkflow", subworkflowId="greeting")]
    parent = document(*nodes, node("end"), flow=("start -> call", "call -> end"))

    execution = service.run(parent, inputs={"name": "Ada"})

    assert execution["finalOutput"] == {"name": "Ada", "text": "Hello Ada"}
    query = {"parentExecutionId": execution["executionId"]}
    (child,) = service.http.get("/api/executions", params=query).json()["executions"]
    assert (child["workflowId"], child["status"]) == ("greeting", "completed")
