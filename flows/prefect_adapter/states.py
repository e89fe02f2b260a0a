"""Prefect states: creates states and ids of embedded runs without their validation."""

import os
import random
from typing import Any, cast
from uuid import UUID

from prefect.client.schemas.objects import State, StateDetails, StateType
from prefect.types._datetime import now
from pydantic import BaseModel

_random = random.Random()  # noqa: S311 - ids of objects in memory
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)

_VERSION_AND_VARIANT = ~(0xF000_C000 << 48)
_VERSION_4 = 0x4000_8000 << 48

_TEMPLATES = {
    state_type: State[Any](type=state_type, name=state_type.value.capitalize())
    for state_type in (StateType.PENDING, StateType.RUNNING, StateType.COMPLETED)
}
"""States that are copied, because their validation takes ten times as long as a copy."""
_DETAILS = StateDetails()


def new_id() -> UUID:
    """Return a random UUID of version 4 for an object in memory.

    ``uuid4`` reads from the operating system, and releases the interpreter lock for that: the event
    loop then waits until another thread, such as the one that writes to the database, returns it.
    """
    return UUID(int=_random.getrandbits(128) & _VERSION_AND_VARIANT | _VERSION_4)


def new_state(
    state_type: StateType,
    task_run_id: UUID | None,
    flow_run_id: UUID | None,
    data: object = None,
) -> State[Any]:
    """Return a new pending, running or completed state, as Prefect's functions do."""
    details = _DETAILS.model_copy(update={"task_run_id": task_run_id, "flow_run_id": flow_run_id})
    update = {"id": new_id(), "timestamp": now("UTC"), "state_details": details, "data": data}
    # Pydantic's method, because that of ``State`` inspects the factory of the timestamp.
    return cast("State[Any]", BaseModel.model_copy(_TEMPLATES[state_type], update=update))
