"""What every node may carry in its ``config``, whatever its type."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel


class OnError(StrEnum):
    """What becomes of the run when the node fails."""

    STOP = "stop"
    """Nothing new starts, nodes in flight finish, the execution is ``failed``."""
    CONTINUE = "continue"
    """The children get ``{"error": {…}}`` and the run goes on."""
    BRANCH = "branch"
    """Only connections of output type ``error`` are live."""


class RetryBackoff(StrEnum):
    """How the delay before a further attempt grows."""

    FIXED = "fixed"
    EXPONENTIAL = "exponential"


def _none_if_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


BlankIsNone = BeforeValidator(_none_if_blank)
"""An emptied form field arrives as ``""``; it means that nothing was set."""

_Retries = Annotated[int, Field(ge=0, le=10)]
_Delay = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
_Timeout = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
TimeLimit = Annotated[_Timeout | None, BlankIsNone]
"""Seconds, up to a year; ``None`` is no limit."""


class NodeOptions(BaseModel):
    """Retries, time limit and error mode of a node. ``None`` leaves it to the node's type."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    retries: Annotated[_Retries | None, BlankIsNone] = Field(default=None, title="Retries")
    """Further attempts after the first, 0 to 10."""
    retry_delay_seconds: Annotated[_Delay | None, BlankIsNone] = Field(
        default=None, title="Delay before a retry"
    )
    """Seconds before the second attempt, up to a day."""
    retry_backoff: Annotated[RetryBackoff | None, BlankIsNone] = Field(
        default=None, title="Growth of the delay"
    )
    """``exponential`` doubles the delay from attempt to attempt."""
    timeout_seconds: TimeLimit = Field(default=None, title="Time limit")
    """Seconds that one attempt may take, up to a year."""
    on_error: Annotated[OnError | None, BlankIsNone] = Field(default=None, title="On failure")
    """What a failure means: ``stop`` ends the run, ``continue`` goes on with the error as output,
    ``branch`` goes on where connections of type ``error`` lead. Without it: ``stop``."""
    hide_data: Annotated[bool | None, BlankIsNone] = Field(default=None, title="Hide its data")
    """Whether the node's input and output are kept unreadable, and shown as hidden."""
