"""Chat completion content: reads texts and reported errors, and adapts the token limit."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import TypeVar

import openai

from engine.errors import NodeError
from engine.json_values import JsonValue, as_text, is_list, is_object
from tracing import ModelReply

T = TypeVar("T")

MAX_SHOWN_TEXT = 500
"""Maximum length of a server's message in an error, in characters."""

INVALID_REQUEST = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
"""Statuses with which servers reject an unknown parameter."""

_FINAL = {"invalid_request_error", "insufficient_quota", "context_length_exceeded"}
"""Types and codes of reported errors for which a retry cannot succeed."""
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
    """Return the text of a message or a delta, or the refusal if it has no text.

    The content is a string, or a list of parts. Parts of other types than text, for example the
    model's reasoning, are ignored.
    """
    content = getattr(message, "content", None)
    if is_list(content):
        content = "".join(map(_text_of_part, content))
    return as_text(content or getattr(message, "refusal", None) or "")


def _text_of_part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not is_object(part) or part.get("type") not in _TEXT_PARTS:
        return ""
    text = part.get("text")
    return text if isinstance(text, str) else ""


def model_reply(completion: object) -> ModelReply:
    """Return the data of a completion for its span; servers may omit each value."""
    choices = getattr(completion, "choices", None)
    reasons = [getattr(choice, "finish_reason", None) for choice in choices or ()]
    usage = getattr(completion, "usage", None)
    return ModelReply(
        _optional(completion, "id", str),
        _optional(completion, "model", str),
        [reason for reason in reasons if isinstance(reason, str)],
        _optional(usage, "prompt_tokens", int),
        _optional(usage, "completion_tokens", int),
    )


def _optional(holder: object, name: str, kind: type[T]) -> T | None:
    value = getattr(holder, name, None)
    return value if isinstance(value, kind) else None


def reported_error(completion: object, host: str) -> NodeError | None:
    """Return the error that a server reports in a response with status 200, if it does."""
    choices = getattr(completion, "choices", None)
    first = choices[0] if is_list(choices) and choices else None
    for holder in (completion, first):
        if error := getattr(holder, "error", None):
            return server_failure(error, host)
    return None


def server_failure(error: object, host: str) -> NodeError:
    """Return a reported error as the error of the node, retryable or not."""
    fields: Mapping[str, JsonValue] = error if is_object(error) else {}
    code, kind = fields.get("code"), fields.get("type")
    status = int(str(code)) if str(code).isdecimal() else None
    limited = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)
    rejected = (
        status is not None
        and HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        and not limited
    )
    text = as_text(fields.get("message") or error)[:MAX_SHOWN_TEXT]
    return NodeError(
        f"the model server at {host} reported an error in its reply: {text}",
        retryable=not rejected and str(code) not in _FINAL and str(kind) not in _FINAL,
    )


class TokenLimit:
    """The parameter that limits the length of a reply; each server accepts one of two names.

    OpenAI's newer models reject the old name, and other servers accept only the old name.
    """

    def __init__(self, tokens: int | None) -> None:
        self._tokens = tokens
        self._name = "max_tokens"
        self._rejected = set[str]()

    def prefer_new_name(self) -> None:
        """Start with the name that OpenAI requires."""
        if not self._rejected:
            self._name = "max_completion_tokens"

    def arguments(self) -> dict[str, int]:
        """Return the arguments of a request."""
        return {} if self._tokens is None else {self._name: self._tokens}

    def has_other_name(self, sent: Mapping[str, object], error: openai.APIStatusError) -> bool:
        """Return whether the server rejected the sent name and the other one is untried."""
        name = next((name for name in _OTHER_NAME if name in sent), None)
        text = error.response.text
        if name is None or error.status_code not in INVALID_REQUEST or name not in text:
            return False
        other = _OTHER_NAME[name]
        if other in self._rejected or not (_UNSUPPORTED.search(text) or other in text):
            return False
        # Concurrent requests with the same name change to the other one too.
        self._rejected.add(name)
        self._name = other
        return True
