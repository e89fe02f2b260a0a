"""Attempt schemas: the segments of node runs."""

from typing import Literal

from pydantic import Field

from api.schemas.base import ApiModel


class SegmentResponse(ApiModel):
    """An attempt of a node run, or a time in which it was parked."""

    node_id: str
    kind: Literal["running", "parked"]
    attempt: int = Field(description="Of a parked retry, the number of the next attempt.")
    started_at: str = Field(description="The end of the segment before.")
    ended_at: str | None = Field(description="Null while the segment lasts.")


class AttemptsResponse(ApiModel):
    """``GET /api/executions/{id}/attempts``."""

    execution_id: str
    segments: list[SegmentResponse] = Field(
        description="By node run and time, of at most 1,000 node runs with several segments."
    )
