"""Payloads: JSON columns of the database in responses, decoded or copied as JSON."""

from collections.abc import Mapping

from database.foreign_values import json_of, raw_json_of
from database.records import Payload
from engine.json_values import JsonValue, encode_json

PAYLOAD_PREVIEW_CHARS = 8_192
"""Maximum length of a payload's JSON in a poll, in characters; ``/logs`` returns all of it."""


def payload_preview(payload: Payload | None) -> JsonValue:
    """Return the value of a payload, or an object that describes a truncated one."""
    if payload is None:
        return None
    if payload.cut:
        return {"truncated": True, "size": payload.size, "preview": payload.text}
    return json_of(payload.text)


def raw_payload(payload: Payload | None) -> str:
    """Return ``payload_preview`` in JSON; a payload that is valid JSON is copied unchanged."""
    if payload is None:
        return "null"
    return encode_json(payload_preview(payload)) if payload.cut else raw_json_of(payload.text)


def object_json(values: Mapping[str, JsonValue], raw: Mapping[str, str]) -> str:
    """Return an object in JSON; the values of ``raw`` are JSON already."""
    more = "".join(f',"{name}":{text}' for name, text in raw.items())
    return f"{encode_json(dict(values))[:-1]}{more}}}"
