"""subworkflow node: runs another workflow and passes on its result."""

from typing import Annotated, Any

from prefect import task
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field

from engine.errors import PermanentError
from engine.json_values import JsonValue, is_object, kind_of
from engine.options import TimeLimit
from engine.parking import PARK
from engine.subworkflow_calls import CALL
from tasks.compute import computed, success
from tasks.config.base import TEMPLATED, Name, NodeConfig, fill, has_template, read_config
from tasks.config.fields import NO_TEMPLATE
from tasks.flow.wait import timeout_park

_MAX_ID_CHARS = 500


def _is_an_id(text: str) -> str:
    if has_template(text):
        raise ValueError("should be the id of a workflow, without {{ }}")
    if not text or len(text) > _MAX_ID_CHARS or "\0" in text:
        raise ValueError(f"should be the id of a workflow, up to {_MAX_ID_CHARS} characters")
    return text


def _as_inputs(value: object) -> object:
    """Accept an object or a template."""
    if value is None or is_object(value) or (isinstance(value, str) and has_template(value)):
        return value
    raise ValueError(f"should be an object, or a template for one, not of type {kind_of(value)}")


_FormInputs = (
    Annotated[dict[str, Any], Field(title="By node")]
    | Annotated[str, Field(title="Template", pattern=r"\{\{")]
)


class SubworkflowConfig(NodeConfig, title="Subworkflow", category="flow"):
    """Runs another workflow and passes on its result."""

    subworkflow_id: Annotated[Name, AfterValidator(_is_an_id)] = Field(
        title="Workflow",
        validation_alias=AliasChoices("subworkflowId", "workflowId"),
        json_schema_extra={**NO_TEMPLATE, "maxLength": _MAX_ID_CHARS},
    )
    """The id of the workflow; the version that is saved when the node starts is run."""
    subworkflow_inputs: Annotated[
        JsonValue, BeforeValidator(_as_inputs, json_schema_input_type=_FormInputs), TEMPLATED
    ] = Field(default=None, title="Inputs")
    """Inputs of its nodes by node id; all other keys together are the payload of its trigger. May
    contain templates. By default the input of this node is the payload."""
    timeout_seconds: TimeLimit = Field(default=None, title="Time to end")
    """Maximum seconds for the other workflow, up to a year; unlimited by default."""


@task(name="subworkflow")
@computed
def handle_subworkflow(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the call; the node is parked until the other workflow ends."""
    config = read_config(SubworkflowConfig, node)
    call: dict[str, JsonValue] = {"workflowId": config.subworkflow_id}
    if config.subworkflow_inputs is None:
        call["payload"] = input_data
    else:
        inputs = fill("subworkflowInputs", config.subworkflow_inputs, input_data)
        if not is_object(inputs):
            reason = f"subworkflowInputs: should be an object, not of type {kind_of(inputs)}"
            raise PermanentError(reason)
        call["inputs"] = inputs
    message = f"subworkflow '{config.subworkflow_id}' did not end within"
    limit = timeout_park(message, config.timeout_seconds, ", and was cancelled")
    park = {CALL: call, **limit}
    return success(f"Calls the workflow '{config.subworkflow_id}'", None, **{PARK: park})
