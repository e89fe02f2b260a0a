"""Stream: delivers the progress of an execution as it happens."""

from tests.support.documents import line
from tests.support.service import RunningService
from tests.support.stream_clients import sse


def test_a_client_receives_the_progress_as_server_sent_events(service: RunningService) -> None:
    """The stream delivers one event a change, and ends after the end of the execution."""
    execution_id = service.start(line(3))

    with sse(service, f"/api/executions/{execution_id}/stream", afterSeq=0) as stream:
        events = list(stream)

    assert events[-1].type == "execution_complete"
    assert events[-1].data["progress"]["percentage"] == 100
    assert [int(event.id or 0) for event in events] == list(range(1, len(events) + 1))
    logged = {log["nodeId"] for event in events for log in event.data["logs"]}
    assert logged == {"start", "n0", "end"}
