"""filter node: keeps or drops the records that pass comparisons."""

from enum import StrEnum
from typing import Annotated, Any

from prefect import task
from pydantic import BeforeValidator, Field

from engine.json_values import JsonValue
from tasks.config.base import read_config
from tasks.config.fields import trimmed
from tasks.flow.condition import ComparisonsConfig, partition_records
from tasks.records.records import as_records


class FilterMode(StrEnum):
    """Whether the records that pass are kept or dropped."""

    KEEP = "keep"
    DROP = "drop"


class FilterConfig(ComparisonsConfig, title="Filter", category="data", pure=True):
    """Keeps the records of a list that pass comparisons, or drops them."""

    filter_mode: Annotated[FilterMode, BeforeValidator(trimmed)] = Field(
        default=FilterMode.KEEP, title="Records that pass"
    )
    """``keep`` keeps the records that pass; ``drop`` keeps the others."""

    def needs_input(self) -> bool:
        """Return that the node requires an input."""
        return True


# Not a coroutine, so that it runs in a thread and a long list does not delay other executions.
@task(name="filter")
def handle_filter(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the kept records, in their order.

    Raises:
        NodeError: If the input is not records, or a field and a value cannot be compared.
    """
    config = read_config(FilterConfig, node)
    records = as_records(input_data)
    kept, dropped = partition_records(config, records)
    if config.filter_mode == FilterMode.DROP:
        kept, dropped = dropped, kept
    return {
        "success": True,
        "message": f"Kept {len(kept)} of {len(records)} records",
        "outputData": kept,
        "keptCount": len(kept),
        "droppedCount": len(dropped),
    }
