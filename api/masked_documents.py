"""Masked documents: masks the secrets in workflow documents for roles below ``admin``."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from api.auth.api_keys import Role
from api.auth.callers import Caller
from api.dependencies import Services
from database.foreign_values import json_of
from database.records import Workflow, WorkflowChange
from database.workflows import Versions, version_of
from engine.document_secrets import find_masks, mask_document, restore_masked
from engine.errors import (
    InvalidDocumentError,
    InvalidRequestError,
    InvalidWorkflowError,
)
from engine.json_pieces import load_json_in_pieces
from engine.json_values import JsonValue, encode_json
from engine.masking import MASK
from flows.encoding import encode_off_loop
from flows.secret_fields import secret_paths
from offload import check_stop, run_sized


async def shown_document(text: str, caller: Caller, services: Services) -> tuple[JsonValue, bool]:
    """Return a stored document, masked for ``caller``, and whether a secret was masked."""
    if caller.role >= Role.ADMIN:
        return json_of(text), False
    paths = secret_paths(services.submissions.node_types)

    def mask() -> tuple[JsonValue, bool]:
        before = json_of(text)
        masked = mask_document(json_of(text), paths)
        return masked, masked != before

    return await run_sized(len(text), mask)


async def reject_masks(
    document: JsonValue,
    pointer: str,
    services: Services,
    error: type[InvalidRequestError] = InvalidDocumentError,
) -> None:
    """Raise if a secret field of a document holds the mask instead of a value.

    Raises:
        InvalidRequestError: If one does. ``pointer`` is that of the document in the request.
    """
    # Most documents do not contain the mask, and searching the JSON is cheap.
    text = await encode_off_loop(document)
    if MASK in text:
        paths = secret_paths(services.submissions.node_types)
        if problems := await run_sized(len(text), find_masks, document, paths, pointer):
            raise error(problems)


async def update_keeping_secrets(
    stored: Workflow, change: WorkflowChange, versions: Versions, services: Services
) -> Workflow:
    """Save a workflow, and keep the stored value of each secret that was sent as a mask.

    Raises:
        InvalidWorkflowError: If a mask has no stored value.
        PreconditionFailedError: If its current version is not in ``versions``, or if another client
            has changed it since it was read.
        StorageError: If nothing was stored.
    """
    if MASK in change.data and (versions is None or version_of(stored) in versions):
        data = await _with_stored_secrets(change.data, stored.data, services)
        if data != change.data:
            # The update fails if the secrets have changed since they were read.
            change, versions = replace(change, data=data), {version_of(stored)}
    return await services.database.workflows.update(stored.id, change, versions)


async def _with_stored_secrets(sent: str, stored: str, services: Services) -> str:
    paths = secret_paths(services.submissions.node_types)

    def restore() -> str:
        document, before = load_json_in_pieces(sent, check_stop), json_of(stored)
        known: Mapping[str, JsonValue] = {}
        if isinstance(before, Mapping):
            known = cast("Mapping[str, JsonValue]", before)
        if problems := restore_masked(document, known, paths):
            raise InvalidWorkflowError(
                [replace(problem, pointer=f"/data{problem.pointer}") for problem in problems]
            )
        return encode_json(document)

    return await run_sized(len(sent) + len(stored), restore)
