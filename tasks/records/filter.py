"""The filter: keeps the records that pass a condition's tests."""

from enum import StrEnum
from typing import Annotated, Any

from prefect import task
from pydantic import BeforeValidator, Field

from engine.json_values import JsonValue
from tasks.config.base import read_config
from tasks.config.fields import trimmed
from tasks.flow.condition import ComparisonsConfig, sort_records
from tasks.records.records import as_records


class FilterMode(StrEnum):
    """What becomes of the records that pass."""

    KEEP = "keep"
    DROP = "drop"


class FilterConfig(ComparisonsConfig, title="Filter", category="data"):
    """Keeps the records of a list that pass tests, or drops them."""

    filter_mode: Annotated[FilterMode, BeforeValidator(trimmed)] = Field(
        default=FilterMode.KEEP, title="Records that pass"
    )
    """``keep`` keeps the records that pass the tests; ``drop`` keeps the others."""

    def needs_input(self) -> bool:
        """Return that there is nothing to filter without an input."""
        return True


# No coroutine: it runs in a thread, and a long list holds up no other execution.
@task(name="filter")
def handle_filter(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """The list of the records that are kept, in their order.

    Raises:
        NodeError: the input is no records, or a test cannot be made; names record and field.
    """
    config = read_config(FilterConfig, node)
    records = as_records(input_data)
    kept, dropped = sort_records(config, records)
    if config.filter_mode == FilterMode.DROP:
        kept, dropped = dropped, kept
    return {
        "success": True,
        "message": f"Kept {len(kept)} of {len(records)} records",
        "outputData": kept,
        "keptCount": len(kept),
        "droppedCount": len(dropped),
    }
