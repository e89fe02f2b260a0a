"""Query parameter names: rejects names that look like a misspelling of a valid one.

Other unknown names are ignored, because proxies and browsers add parameters.
"""

from fastapi import Request
from fastapi.routing import APIRoute

from api.schemas.base import nearest, shown
from engine.errors import InvalidRequestError
from engine.problems import MAX_PROBLEMS, Problem

MIN_LIKENESS = 0.8
"""Minimum similarity of a misspelling to a valid name."""
ACCEPTED_EVERYWHERE = ("organizationId", "token")
"""Names that tenant isolation and authentication read on every route."""


async def reject_misspelled_parameters(request: Request) -> None:
    """Check the names of the query parameters of a request.

    Raises:
        InvalidRequestError: If a name looks like a misspelling; the error suggests the valid one.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = {field.alias for field in route.dependant.query_params}
    problems: list[Problem] = []
    for name in request.query_params:
        if name in known or name in ACCEPTED_EVERYWHERE or len(problems) == MAX_PROBLEMS:
            continue
        valid = nearest(name, known, MIN_LIKENESS)
        if valid is not None:
            detail = f"unknown query parameter '{shown(name)}'; did you mean '{valid}'?"
            problems.append(Problem("unknown_parameter", detail, ""))
    if problems:
        raise InvalidRequestError(problems)
