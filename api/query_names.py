"""Query parameters: a name that looks like a misspelling of a valid one is rejected.

Other names that are not known are ignored, because proxies and browsers add parameters.
"""

from fastapi import Request
from fastapi.routing import APIRoute

from api.schemas.base import nearest, shown
from engine.errors import InvalidInputsError
from engine.problems import MAX_PROBLEMS, Problem

MIN_LIKENESS = 0.8
"""Similarity from which on a name counts as a misspelling."""
ACCEPTED_EVERYWHERE = ("organizationId", "token")
"""Names that are read outside the operations: by the scope of the caller, and by the access."""


async def reject_misspelled_parameters(request: Request) -> None:
    """Check the names in the query of a request.

    Raises:
        InvalidInputsError: If a name looks like a misspelling; the error names the valid one.
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
        raise InvalidInputsError(problems)
