"""Known values: enums in the OpenAPI document for fields that other programs also write.

Generated TypeScript narrows a field whose schema is an enum. ``anyOf: [enum, string]`` would lose
that, so the schema lists the values of this service, and its description says that rows of other
programs may have others (decision 0024).
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core.core_schema import chain_schema

from engine.status import EventType, ExecutionStatus, NodeStatus

OTHER_VALUES = "Rows of other programs may have other values; clients need a default case."


class KnownValues:
    """Annotation of a string field that the OpenAPI document describes as an enum."""

    def __init__(self, values: type[StrEnum], description: str) -> None:
        self.values = values
        self.description = description

    def __get_pydantic_json_schema__(
        self, _schema: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return a reference to the enum."""
        enum: Any = {**TypeAdapter(self.values).core_schema, "ref": self.values.__name__}
        # Only a schema inside another one becomes a definition.
        reference = handler(chain_schema([enum]))
        handler.resolve_ref_schema(reference)["description"] = self.description
        return reference


class TriggerType(StrEnum):
    """Cause of an execution."""

    MANUAL = "manual"
    WEBHOOK = "webhook"
    SUBWORKFLOW = "subworkflow"


AnyExecutionStatus = Annotated[
    str,
    KnownValues(
        ExecutionStatus,
        "`pending`, `running` and `waiting` executions are active; all others have ended. "
        + OTHER_VALUES,
    ),
]
AnyNodeStatus = Annotated[str, KnownValues(NodeStatus, f"Status of a node run. {OTHER_VALUES}")]
AnyTriggerType = Annotated[str, KnownValues(TriggerType, f"Cause of an execution. {OTHER_VALUES}")]
AnyEventType = Annotated[
    str,
    KnownValues(EventType, "Type of a message. All but `execution_progress` are the last one."),
]
