"""Node options: the settings of every node's ``config``, independent of its type."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel


class OnError(StrEnum):
    """How the run continues after the node fails."""

    STOP = "stop"
    """Nothing new starts, nodes in flight finish, the execution is ``failed``."""
    CONTINUE = "continue"
    """The following nodes get ``{"error": {…}}``, and the run continues."""
    BRANCH = "branch"
    """Only connections of output type ``error`` are live."""


class RetryBackoff(StrEnum):
    """Growth of the delay before further attempts."""

    FIXED = "fixed"
    EXPONENTIAL = "exponential"


def _none_if_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


BlankIsNone = BeforeValidator(_none_if_blank)
"""Reads a blank string, which a form sends for an empty field, as ``None``."""

CONCURRENCY_KEY_PATTERN = r"^[A-Za-z0-9_.-]+$"
"""Pattern of a ``concurrencyKey``. It contains no braces, because a key is not a template."""
_Retries = Annotated[int, Field(ge=0, le=10)]
_Delay = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
_Timeout = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
_ConcurrencyKey = Annotated[str, Field(max_length=100, pattern=CONCURRENCY_KEY_PATTERN)]
TimeLimit = Annotated[_Timeout | None, BlankIsNone]
"""Timeout in seconds, up to a year; ``None`` disables it."""


class NodeOptions(BaseModel):
    """Retries, timeout and error mode of a node. With ``None`` the node's type decides."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

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
    """Maximum duration of one attempt in seconds, up to a year."""
    on_error: Annotated[OnError | None, BlankIsNone] = Field(default=None, title="On failure")
    """After a failure, ``stop`` (the default) ends the run, ``continue`` uses the error as output,
    and ``branch`` follows the connections of type ``error``."""
    concurrency_key: Annotated[_ConcurrencyKey | None, BlankIsNone] = Field(
        default=None, title="Concurrency key"
    )
    """Name of a resource that the node uses; nodes with the same name take turns."""
    hide_data: Annotated[bool | None, BlankIsNone] = Field(default=None, title="Hide its data")
    """Whether the node's input and output are encrypted and shown as hidden."""
