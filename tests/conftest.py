"""Configuration of pytest: temporary files, generated examples and the order of the tests.

The fixtures are in a plugin, ``tests/support/fixtures.py``, because they import the service: this
takes three seconds, and the process that only distributes the tests does not need them.
"""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.file_order import put_long_files_first
from tests.support.postgres_server import drop_templates
from tests.support.setup_selection import add_option, select, use_one_process

# Without deadlines, because the duration of an example depends on the load of the machine.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


gc.disable()  # until all modules are imported; see ``pytest_collection_finish``

_TEMPORARY: str | None = None
"""Directory of all temporary files of the session and of its processes, shared by xdist workers.
It is created at import, because ``tests/prefect/conftest.py`` needs it then."""

if "PYTEST_XDIST_WORKER" not in os.environ:
    _TEMPORARY = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="workflow-tests-")
    tempfile.tempdir = None  # the next use of a temporary file reads the environment again


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--setup``."""
    add_option(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the tests of a set-up in one process, which starts its servers once."""
    use_one_process(config)


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures in each process that runs tests; let ``put_long_files_first`` sort."""
    config.option.loadscopereorder = False  # an option of pytest-xdist
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell lets its background jobs ignore Ctrl-C, and the processes of tests would too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    is_worker = hasattr(config, "workerinput")
    if is_worker or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("tests.support.fixtures")


def pytest_collection_finish() -> None:
    """Start the garbage collection, except for modules and tests: they stay until the end."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Delete temporary files and databases; ``--basetemp`` keeps the files of tests."""
    if _TEMPORARY is not None:
        drop_templates(Path(_TEMPORARY))
        shutil.rmtree(_TEMPORARY, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Select the tests of the set-up, and sort the files."""
    yield  # pytest-randomly shuffles the tests
    select(config, items)
    put_long_files_first(items)
