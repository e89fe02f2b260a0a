"""Every input that once blocked the service for all: an uninvolved client is not delayed by it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.attacks import ATTACKS, Target, hostile_server, settings_of
from tests.support.crash_harness import ServiceProcess
from tests.support.responsiveness import Delays, bystander, watch

# The service is another process. The hostile server of the test may close its loop while a client
# is still connected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

ATTEMPTS = 3


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service in a process of its own, with the settings that the attacks need."""
    with (
        hostile_server() as hostile,
        ServiceProcess(tmp_path_factory.mktemp("attacked"), **settings_of(hostile)) as service,
    ):
        service.run_process()
        with httpx.Client(base_url=service.url, timeout=150, trust_env=False) as client:
            yield Target(client, hostile)


@pytest.fixture(scope="module")
def at_rest(target: Target) -> Delays:
    """The delays of the bystander before any attack."""
    return watch(str(target.http.base_url))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_uninvolved_client_is_not_delayed_by(name: str, target: Target, at_rest: Delays):
    # The best of three, because other processes may delay one attempt. An attack that blocks the
    # service does so in each attempt.
    for _ in range(ATTEMPTS):
        with bystander(str(target.http.base_url)) as probe:
            ATTACKS[name](target)
        if probe.delays.is_close_to(at_rest):
            return
        at_rest = watch(str(target.http.base_url))  # the machine may be busier than at the start
    probe.delays.assert_close_to(at_rest)


def test_every_case_of_the_list_is_an_attack():
    assert {name.split(" ")[0] for name in ATTACKS} >= {f"A{number}" for number in range(1, 12)}
