"""Loop: runs a part of the graph for each item of a list."""

from tests.support.documents import document, node
from tests.support.service import RunningService

GREETINGS = document(
    node("start", "trigger"),
    node("each", "forEach", forEachItems="{{ people }}"),
    node("greet", "addField", addFieldName="text", addFieldValue="{{ loop.number }}: {{ name }}"),
    node("end"),
    flow=("start -> each", "each -item-> greet", "each -done-> end"),
)


def test_a_loop_runs_its_body_for_each_item(service: RunningService) -> None:
    """The outputs of the body are collected in the order of the items."""
    execution = service.run(GREETINGS, inputs={"people": [{"name": "Ada"}, {"name": "Grace"}]})

    assert execution["finalOutput"] == [
        {"name": "Ada", "text": "1: Ada"},
        {"name": "Grace", "text": "2: Grace"},
    ]
    logs = service.logs(execution["executionId"])
    assert logs["greet[1]"]["inputData"] == {"name": "Grace"}
