"""Allowed methods: the ``Allow`` header of a 405 (RFC 9110, section 10.2.1)."""

from collections.abc import Iterable

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, compile_path


def allowed_methods(routes: Iterable[BaseRoute], path: str) -> list[str]:
    """Return the methods of all routes with the template of the first one that matches ``path``.

    Starlette uses the first route only, but here each method of a path is a separate route.
    """
    template: str | None = None
    methods: set[str] = set()
    for route in iter_route_contexts(list(routes)):
        if route.path is None or not route.methods:
            continue
        if template is None and compile_path(route.path)[0].match(path):
            template = route.path
        if route.path == template:
            methods |= route.methods
    return sorted(methods)
