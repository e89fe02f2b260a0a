"""Documents of the command line: workflow files, and inputs of the form ``name=value``."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cli.errors import CommandError, ExitCode
from engine.json_values import is_object

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Maximum size of a workflow file, in bytes; services accept less by default."""
STANDARD_INPUT = "-"


def is_file(target: str) -> bool:
    """Return whether an argument is a file, and not the id of a saved workflow."""
    return target == STANDARD_INPUT or target.endswith(".json") or Path(target).is_file()


def read_workflow(target: str) -> tuple[object, str | None]:
    """Return the document of a file, and the name of the workflow if the file contains one.

    The file contains a document, or a workflow with ``name`` and ``data`` as the service returns
    it; ``data`` may be JSON text.

    Raises:
        CommandError: If the file cannot be read or is not JSON.
    """
    content = _json(_read(target), target)
    if not is_object(content) or "nodes" in content or "data" not in content:
        return content, None
    document: object = content["data"]
    name = content.get("name")
    if isinstance(document, str):
        document = _json(document, f"{target}, data")
    return document, name if isinstance(name, str) and name else None


def read_inputs(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the inputs of ``name=value`` pairs. A value that is JSON is that value, else a string.

    Raises:
        CommandError: If a pair has no name, or a name occurs twice.
    """
    inputs: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise CommandError(f"--input {pair!r}: expected name=value", ExitCode.REJECTED)
        if name in inputs:
            raise CommandError(f"--input {pair!r}: {name!r} is given twice", ExitCode.REJECTED)
        try:
            inputs[name] = json.loads(text, parse_constant=_reject)
        except (ValueError, RecursionError):
            inputs[name] = text
    return inputs


def _read(target: str) -> bytes:
    try:
        if target == STANDARD_INPUT:
            content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(target).open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandError(f"{target}: cannot be read: {reason}", ExitCode.REJECTED) from None
    if len(content) > MAX_FILE_BYTES:
        raise CommandError(f"{target}: larger than {MAX_FILE_BYTES} bytes", ExitCode.REJECTED)
    return content


def _json(content: str | bytes, source: str) -> object:
    try:
        if isinstance(content, bytes):
            content = content.decode("utf-8-sig")
        return json.loads(content, parse_constant=_reject, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise CommandError(f"{source}: not valid JSON: {reason}", ExitCode.REJECTED) from None


def _reject(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return values
