"""Handler errors: logs the traceback of unexpected exceptions of handlers."""

import asyncio
import traceback
from types import TracebackType
from typing import Any, cast

import structlog

from engine.errors import NodeError
from tasks.masking import secret_masker

log = structlog.get_logger()

MAX_TRACEBACK_CHARACTERS = 8_000
"""Maximum length of a traceback in the log, in characters; its start and its end are kept."""

MAX_FRAMES = 40
"""Maximum number of frames of a traceback in the log: those nearest to the error."""

_CUT = "\n[…]\n"
_MARGIN = 1_000


def log_handler_error(error: BaseException, node: object, skipped_file: str) -> None:
    """Log the traceback of an exception that is not a ``NodeError``, once for an attempt.

    The message of a ``NodeError`` is sufficient; other exceptions are defects of the handler.
    ``node`` is its first argument. The frames of ``skipped_file`` around the handler are omitted.
    """
    if isinstance(error, NodeError | asyncio.CancelledError | GeneratorExit):
        return
    fields = cast("dict[str, Any]", node) if isinstance(node, dict) else {}
    log.error(
        "handler_raised",
        node_id=fields.get("id"),
        node_type=fields.get("type"),
        exception=traceback_text(error, skipped_file),
    )


def traceback_text(error: BaseException, skipped_file: str = "") -> str:
    """Return the traceback of an error, without secrets and of limited length."""
    frames = _without_outer_frames(error.__traceback__, skipped_file)
    lines = traceback.TracebackException(type(error), error, frames, limit=-MAX_FRAMES).format()
    text = "".join(lines).strip()
    if len(text) <= MAX_TRACEBACK_CHARACTERS:
        return secret_masker.mask_truncated(text)
    # The parts next to the cut are omitted, because the masker does not find a divided secret.
    half = MAX_TRACEBACK_CHARACTERS // 2
    start = secret_masker.mask_truncated(text[: half + _MARGIN])
    end = secret_masker.mask_truncated(text[-half - _MARGIN :])
    return f"{start[:-_MARGIN]}{_CUT}{end[_MARGIN:]}"


def _without_outer_frames(frames: TracebackType | None, skipped_file: str) -> TracebackType | None:
    while frames is not None and frames.tb_next and _file(frames) == skipped_file:
        frames = frames.tb_next
    return frames


def _file(frames: TracebackType) -> str:
    return frames.tb_frame.f_code.co_filename
