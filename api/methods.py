"""``Allow`` (RFC 9110, section 10.2.1): the methods that a path has."""

from collections.abc import Iterable

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, compile_path


def allowed_methods(routes: Iterable[BaseRoute], path: str) -> list[str]:
    """The methods of the first route that matches ``path``, and of those that share its template.

    Starlette tells of the first route only, but here each method of a path is a route of its own.
    Those that match later, ``{id:path}`` for one, have other things in mind.
    """
    template: str | None = None
    methods: set[str] = set()
    for route in iter_route_contexts(list(routes)):
        here = route.path
        if here is None or not route.methods:
            continue
        if template is None and compile_path(here)[0].match(path):
            template = here
        if here == template:
            methods |= route.methods
    return sorted(methods)
