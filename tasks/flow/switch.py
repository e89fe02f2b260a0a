"""switch node: sends its input, or each record of a list, to the output of the first case."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from prefect import task
from pydantic import Field, field_validator

from engine.conditions import Comparison, Operator
from engine.errors import NodeError, PermanentError
from engine.json_values import JsonValue, is_list
from engine.ports import Port
from offload import count_read
from tasks.compute import computed, success
from tasks.config.base import TEMPLATED, FormModel, MissingSettingError, NodeConfig, read_config
from tasks.config.fields import Mode
from tasks.flow.condition import ComparisonOperator, TestedField, comparison_holds
from tasks.templating.filters import VALUE_COST

MAX_CASES = 10
"""Maximum number of cases, because the outputs of a type do not depend on its config."""
DEFAULT_PORT = "default"

_OUTPUTS = (
    *(Port(f"case{n}", f"Case {n}", (str(n),)) for n in range(1, MAX_CASES + 1)),
    Port(
        DEFAULT_PORT,
        "Default",
        ("else", "otherwise", "fallback", "none"),
        passes_when_disabled=True,
    ),
)


class SwitchCase(FormModel, title="Case"):
    """A case of a switch."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"value"})

    operator: ComparisonOperator = Field(default=Operator.EQUALS, title="Comparison")
    """The comparison of the field with the value."""
    value: JsonValue = Field(default=None, title="Value")
    """The value to compare with; may contain templates."""


class SwitchConfig(NodeConfig, title="Switch", category="flow", outputs=_OUTPUTS, pure=True):
    """Compares a field with several values and selects the output of the first one that fits."""

    switch_field: TestedField
    """The field to test, such as ``a.b.0.c`` or ``loop.item``; may be a template."""
    switch_cases: Annotated[list[SwitchCase], Field(max_length=MAX_CASES), TEMPLATED] = Field(
        title="Cases", json_schema_extra={"minItems": 1}
    )
    """The cases; the first one belongs to the output ``case1``, and so on."""
    processing_mode: Mode = Field(default="batch", title="Processing")
    """``perRow`` sends each record of a list to the output of its case."""

    @field_validator("switch_cases")
    @classmethod
    def _has_cases(cls, cases: list[SwitchCase]) -> list[SwitchCase]:
        if not cases:
            raise MissingSettingError("should have at least one case")
        return cases


@task(name="switch")
@computed
def handle_switch(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the input, and in ``portData`` the data of the selected outputs.

    Raises a ``NodeError`` if a field and a value cannot be compared.
    """
    config = read_config(SwitchConfig, node)
    if config.processing_mode == "perRow" and is_list(input_data):
        ports = _by_port(config, input_data)
        counts = ", ".join(f"{port}: {len(records)}" for port, records in ports.items())
        data: dict[str, JsonValue] = dict(ports)
        return success(f"Records sent to {counts or 'no output'}", input_data, portData=data)
    first: JsonValue = input_data
    if is_list(input_data):
        first = input_data[0] if input_data else dict[str, JsonValue]()
    port = _port_of(config, first)
    return success(
        f"Input sent to {port}", input_data, switchPort=port, portData={port: input_data}
    )


def _by_port(config: SwitchConfig, records: Sequence[JsonValue]) -> Mapping[str, list[JsonValue]]:
    """Return the records of each output, in their order; outputs without records are left out."""
    found: dict[str, list[JsonValue]] = {}
    for index, record in enumerate(records):
        count_read(VALUE_COST)
        try:
            found.setdefault(_port_of(config, record), []).append(record)
        except NodeError as error:
            raise PermanentError(f"record {index}: {error}") from None
    return found


def _port_of(config: SwitchConfig, record: JsonValue) -> str:
    for number, case in enumerate(config.switch_cases, start=1):
        comparison = Comparison(config.switch_field, case.operator, case.value)
        setting = f"switchCases.{number - 1}.value"
        if comparison_holds("switchField", setting, comparison, record):
            return f"case{number}"
    return DEFAULT_PORT
