"""Going through a list: the forEach node, whose body runs once for each item."""

from enum import StrEnum
from typing import Annotated, Any, cast

from prefect import task
from pydantic import BeforeValidator, Field

from engine.errors import NodeError
from engine.json_values import JsonValue, kind_of
from engine.loops import IN_LOOP
from engine.options import TimeLimit
from engine.parking import PARK
from tasks.compute import compute
from tasks.config.base import TEMPLATED, NodeConfig, fill, read_config
from tasks.config.fields import trimmed
from tasks.flow.wait import given_up

MAX_ITEMS = 10_000
"""Each item is at least one row in the database, and all of them are in memory."""
MAX_CONCURRENCY = 100


class ItemError(StrEnum):
    """What the failure of one item means for the others."""

    STOP = "stop"
    CONTINUE = "continue"


class ForEachConfig(NodeConfig, title="For each", category="flow", outputs=("item", "done")):
    """Runs what follows its item connections once for each item of a list."""

    for_each_items: Annotated[JsonValue, TEMPLATED] = Field(default=None, title="Items")
    """The list, or a template that gives one; without it the input is the list."""
    for_each_concurrency: int = Field(default=1, ge=1, le=MAX_CONCURRENCY, title="At once")
    """How many items may be under way at once, 1 to 100; 1 goes through them one by one."""
    for_each_on_error: Annotated[ItemError, BeforeValidator(trimmed)] = Field(
        default=ItemError.STOP, title="When an item fails"
    )
    """``stop`` fails the loop; ``continue`` goes on with the others, and has the error among the
    results."""
    timeout_seconds: TimeLimit = Field(default=None, title="Time for all items")
    """Seconds that all items together may take, up to a year; without it there is no limit."""

    def needs_input(self) -> bool:
        """Return whether the list comes from the input."""
        return self.for_each_items is None


@task(name="forEach")
async def handle_for_each(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Has the loop begin; its output is the list of what the items came to.

    Raises:
        NodeError: there is no list, or too long a one.
    """
    return await compute((node, input_data), _for_each, node, input_data)


def _for_each(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    config = read_config(ForEachConfig, node)
    items = input_data
    if config.for_each_items is not None:
        items = fill("forEachItems", config.for_each_items, input_data)
    if not isinstance(items, list):
        what = "the input" if config.for_each_items is None else "forEachItems"
        hint = "; set forEachItems" if config.for_each_items is None else ""
        reason = f"{what} is of type {kind_of(items)}, not a list{hint}"
        raise NodeError(reason, retryable=False)
    count = len(cast("list[JsonValue]", items))
    if count > MAX_ITEMS:
        reason = f"the list has {count} items; a loop takes at most {MAX_ITEMS}"
        raise NodeError(reason, retryable=False)
    how = {"concurrency": config.for_each_concurrency, "onError": config.for_each_on_error}
    limit = given_up("the items took longer than", config.timeout_seconds)
    return {
        "success": True,
        "message": "Runs for 1 item" if count == 1 else f"Runs for {count} items",
        "outputData": items,
        PARK: {IN_LOOP: how, **limit},
    }
