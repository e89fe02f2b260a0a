"""filter node: keeps or drops the records that pass comparisons."""

from typing import Annotated, Any, Literal

from prefect import task
from pydantic import BeforeValidator, Field

from engine.json_values import JsonValue
from tasks.compute import success
from tasks.config.base import read_config
from tasks.config.fields import trimmed
from tasks.flow.condition import ComparisonsConfig, partition_records
from tasks.records.records import RecordsConfig, as_records


class FilterConfig(RecordsConfig, ComparisonsConfig, title="Filter", pure=True):
    """Keeps the records of a list that pass comparisons, or drops them."""

    filter_mode: Annotated[Literal["keep", "drop"], BeforeValidator(trimmed)] = Field(
        default="keep", title="Records that pass"
    )
    """``keep`` keeps the records that pass; ``drop`` keeps the others."""


# Not a coroutine, so that it runs in a thread and a long list does not delay other executions.
@task(name="filter")
def handle_filter(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the kept records, in their order.

    Raises a ``NodeError`` if the input is not records, or a field and a value cannot be compared.
    """
    config = read_config(FilterConfig, node)
    records = as_records(input_data)
    kept, dropped = partition_records(config, records)
    if config.filter_mode == "drop":
        kept, dropped = dropped, kept
    message = f"Kept {len(kept)} of {len(records)} records"
    return success(message, kept, keptCount=len(kept), droppedCount=len(dropped))
