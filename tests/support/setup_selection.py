"""Set-ups: selects the tests that run in the set-up of the option ``--setup``.

A test with the marker ``behavior`` describes a behavior that is the same in each set-up:

- ``embedded``: one service on SQLite; all other tests run too;
- ``services``: two services on PostgreSQL, and each connection uses the other one;
- ``workpool``: a service and two workers of a Prefect work pool, on PostgreSQL.
"""

from collections.abc import Iterator

import pytest

SETUPS = ("embedded", "services", "workpool")
EMBEDDED, SERVICES, WORKPOOL = SETUPS

_SHARED = {"service", "shared_service"}
"""Fixtures whose service belongs to the set-up."""
_OWN_PROCESS = {"monkeypatch", "at_once"}
"""Fixtures that change the process of the service."""


def add_option(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(
        "--setup",
        choices=SETUPS,
        default=EMBEDDED,
        help="Set-up of the behavior tests: one service on SQLite (default), two services on "
        "PostgreSQL, or a work pool with two workers on PostgreSQL. The last two run the tests "
        "with the marker 'behavior' only, in one process.",
    )


def setup_of(config: pytest.Config) -> str:
    """Return the name of the set-up."""
    return str(config.getoption("--setup", EMBEDDED))


def use_one_process(config: pytest.Config) -> None:
    """Disable the processes of pytest-xdist if the tests share the servers of a set-up."""
    if setup_of(config) != EMBEDDED and config.getoption("numprocesses", None):
        config.option.numprocesses = 0


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that do not run in the set-up."""
    setup = setup_of(config)
    if setup == EMBEDDED:
        return
    selected = [item for item in items if _runs_in(setup, item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(selected)])
    items[:] = selected


def _runs_in(setup: str, item: pytest.Item) -> bool:
    if item.get_closest_marker("behavior") is None or "postgresql" in _parameters(item):
        return False
    fixtures = set(getattr(item, "fixturenames", ()))
    if fixtures & _OWN_PROCESS:
        return False
    if fixtures & _SHARED or "configured_service" in fixtures:
        return item.get_closest_marker("one_process") is None
    # Their services have other settings or are killed, so that only the database is another one.
    return setup == SERVICES and "storage" in fixtures


def _parameters(item: pytest.Item) -> Iterator[object]:
    call = getattr(item, "callspec", None)
    return iter(()) if call is None else iter(call.params.values())
