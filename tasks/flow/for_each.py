"""forEach node: runs its body once for each item of a list."""

from typing import Annotated, Any, Literal

from prefect import task
from pydantic import BeforeValidator, Field

from engine.errors import PermanentError
from engine.json_values import JsonValue, is_list, kind_of
from engine.loops import IN_LOOP
from engine.options import TimeLimit
from engine.parking import PARK
from tasks.compute import computed, success
from tasks.config.base import TEMPLATED, NodeConfig, fill, read_config
from tasks.config.fields import trimmed
from tasks.flow.wait import timeout_park

MAX_ITEMS = 10_000
"""Maximum number of items, because each one is in memory and has at least one database row."""
MAX_CONCURRENCY = 100


class ForEachConfig(NodeConfig, title="For each", category="flow", outputs=("item", "done")):
    """Runs the nodes behind its ``item`` output once for each item of a list."""

    for_each_items: Annotated[JsonValue, TEMPLATED] = Field(default=None, title="Items")
    """The list, or a template for it; by default the input is the list."""
    for_each_concurrency: int = Field(default=1, ge=1, le=MAX_CONCURRENCY, title="At once")
    """Maximum number of items that run at the same time, 1 to 100; 1 runs them one by one."""
    for_each_on_error: Annotated[Literal["stop", "continue"], BeforeValidator(trimmed)] = Field(
        default="stop", title="When an item fails"
    )
    """``stop`` fails the loop; ``continue`` runs the others and adds the error to the results."""
    timeout_seconds: TimeLimit = Field(default=None, title="Time for all items")
    """Maximum seconds for all items together, up to a year; unlimited by default."""

    def needs_input(self) -> bool:
        """Return whether the list comes from the input."""
        return self.for_each_items is None


@task(name="forEach")
@computed
def handle_for_each(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Start the loop; its output is the list of the results of the items.

    Raises a ``NodeError`` if the value is not a list, or the list is too long.
    """
    config = read_config(ForEachConfig, node)
    items = input_data
    if config.for_each_items is not None:
        items = fill("forEachItems", config.for_each_items, input_data)
    if not is_list(items):
        source = "the input" if config.for_each_items is None else "forEachItems"
        hint = "; set forEachItems" if config.for_each_items is None else ""
        reason = f"{source} is of type {kind_of(items)}, not a list{hint}"
        raise PermanentError(reason)
    count = len(items)
    if count > MAX_ITEMS:
        reason = f"the list has {count} items; the maximum is {MAX_ITEMS}"
        raise PermanentError(reason)
    loop_args = {"concurrency": config.for_each_concurrency, "onError": config.for_each_on_error}
    limit = timeout_park("the items took longer than", config.timeout_seconds)
    message = "Runs for 1 item" if count == 1 else f"Runs for {count} items"
    return success(message, items, **{PARK: {IN_LOOP: loop_args, **limit}})
