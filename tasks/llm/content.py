"""Chat completions of many servers: the text of a message, reported errors, the token limit."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import cast

import openai

from engine.errors import NodeError
from engine.json_values import JsonValue, as_text

MAX_SHOWN_TEXT = 500
"""Maximum length of a server's own words in an error, in characters."""

INVALID_REQUEST = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
"""Statuses with which servers reject a parameter that they do not know."""

_FINAL = {"invalid_request_error", "insufficient_quota", "context_length_exceeded"}
"""Types and codes of reported errors that another attempt cannot change."""
_TEXT_PARTS = {"text", "output_text", None}
_OTHER_NAME = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|unrecognized|unknown|unexpected|extra|not permitted|instead",
    re.IGNORECASE,
)


def text_of(message: object) -> str:
    """Return the text of a message, or of a piece of one; a refusal where there is no text.

    The content is a string, or a list of parts: those that hold text count, and parts of other
    types, such as the model's thoughts, do not.
    """
    content = getattr(message, "content", None)
    if isinstance(content, list):
        content = "".join(map(_text_of_part, cast("list[object]", content)))
    return as_text(content or getattr(message, "refusal", None) or "")


def _text_of_part(part: object) -> str:
    if isinstance(part, str):
        return part
    fields = cast("dict[str, object]", part) if isinstance(part, dict) else {}
    text = fields.get("text") if fields.get("type") in _TEXT_PARTS else None
    return text if isinstance(text, str) else ""


def reported_error(completion: object, host: str) -> NodeError | None:
    """Return the failure that a server reports in a response with status 200, if it does."""
    choices = getattr(completion, "choices", None)
    first = cast("list[object]", choices)[0] if isinstance(choices, list) and choices else None
    for holder in (completion, first):
        if error := getattr(holder, "error", None):
            return server_failure(error, host)
    return None


def server_failure(error: object, host: str) -> NodeError:
    """Return a reported error as the failure of the node; it says whether a retry may help."""
    fields = cast("dict[str, JsonValue]", error) if isinstance(error, dict) else {}
    code, kind = cast("object", fields.get("code")), cast("object", fields.get("type"))
    status = int(str(code)) if str(code).isdecimal() else None
    limited = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)
    refused = (
        status is not None
        and HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        and not limited
    )
    text = as_text(fields.get("message") or error)[:MAX_SHOWN_TEXT]
    return NodeError(
        f"the model server at {host} reported an error in its reply: {text}",
        retryable=not refused and code not in _FINAL and kind not in _FINAL,
    )


class TokenLimit:
    """The parameter that limits the length of a reply; each server knows one of two names.

    OpenAI's newer models reject the old name, and other servers know only that one.
    """

    def __init__(self, tokens: int | None) -> None:
        self._tokens = tokens
        self._name = "max_tokens"
        self._rejected = set[str]()

    def prefer_new_name(self) -> None:
        """Begin with the name that OpenAI itself asks for."""
        if not self._rejected:
            self._name = "max_completion_tokens"

    def arguments(self) -> dict[str, int]:
        """Return the arguments of a request."""
        return {} if self._tokens is None else {self._name: self._tokens}

    def has_other_name(self, sent: Mapping[str, object], error: openai.APIStatusError) -> bool:
        """Return whether the server rejected the name that was sent, and the other one is left."""
        name = next((name for name in _OTHER_NAME if name in sent), None)
        text = error.response.text
        if name is None or error.status_code not in INVALID_REQUEST or name not in text:
            return False
        other = _OTHER_NAME[name]
        if other in self._rejected or not (_UNSUPPORTED.search(text) or other in text):
            return False
        # Rows that were under way with the same name turn to the other one as well.
        self._rejected.add(name)
        self._name = other
        return True
