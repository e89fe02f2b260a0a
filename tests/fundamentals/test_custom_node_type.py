"""Custom node type: an own handler in the registry."""

from pathlib import Path
from typing import Any

from prefect import task

from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes
from tests.support.documents import document, node
from tests.support.service import RunningService


@task(name="shout")
async def handle_shout(node: dict[str, Any], input_data: dict[str, Any]) -> dict[str, Any]:
    """Return the text of the input in capital letters."""
    text = input_data["text"].upper() + node["config"]["mark"]
    return {"success": True, "message": "Shouted", "outputData": {"text": text}}


def test_a_new_node_type_is_a_task_in_the_registry(tmp_path: Path) -> None:
    """A handler gets the node and its input, and returns the output of the node."""
    node_types = NodeTypes({**NODE_HANDLERS, "shout": handle_shout}, NODE_CONFIGS)
    nodes = [node("start", "trigger"), node("loud", "shout", mark="!"), node("end")]
    graph = document(*nodes, flow=("start -> loud", "loud -> end"))

    with RunningService(tmp_path, node_types) as service:
        assert service.run(graph, inputs={"text": "hello"})["finalOutput"] == {"text": "HELLO!"}
