"""Known values: enums in the OpenAPI document for fields that other programs also write.

Generated TypeScript narrows a field whose schema is an enum. ``anyOf: [enum, string]`` would lose
that, so the schema lists the values of this service, and its description says that rows of other
programs may have others (decision 0024).
"""

from enum import StrEnum
from typing import Annotated

from pydantic import WithJsonSchema

from engine.status import EventType, ExecutionStatus, NodeStatus

OTHER_VALUES = "Rows of other programs may have other values; clients need a default case."


def _known(values: type[StrEnum], description: str) -> WithJsonSchema:
    """Return the schema of a string field as an enum."""
    return WithJsonSchema(
        {"type": "string", "enum": [*map(str, values)], "description": description}
    )


class TriggerType(StrEnum):
    """Cause of an execution."""

    MANUAL = "manual"
    WEBHOOK = "webhook"
    SCHEDULE = "schedule"
    SUBWORKFLOW = "subworkflow"
    FAILURE = "failure"


AnyExecutionStatus = Annotated[
    str,
    _known(
        ExecutionStatus,
        "`pending`, `running` and `waiting` executions are active; all others have ended. "
        + OTHER_VALUES,
    ),
]
AnyNodeStatus = Annotated[str, _known(NodeStatus, f"Status of a node run. {OTHER_VALUES}")]
AnyTriggerType = Annotated[str, _known(TriggerType, f"Cause of an execution. {OTHER_VALUES}")]
AnyEventType = Annotated[
    str, _known(EventType, "Type of a message. All but `execution_progress` are the last one.")
]
