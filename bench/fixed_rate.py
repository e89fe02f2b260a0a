"""Fixed rate: requests at planned times, also if an earlier one has no response yet."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from bench.client import Client


def send_at_rate(
    port: int, count: int, *, per_second: float, clients: int, send: Callable[[Client, int], object]
) -> list[float]:
    """Send ``count`` requests from several clients; return their response times, in seconds.

    The seconds count from the moment at which a request was due, so that none is flattered by
    having waited for the one before it.
    """
    left = iter(range(count))
    lock = threading.Lock()
    begun = time.perf_counter()

    def work() -> list[float]:
        seconds: list[float] = []
        with closing(Client(port)) as client:
            while True:
                with lock:
                    number = next(left, None)
                if number is None:
                    return seconds
                due = begun + number / per_second
                time.sleep(max(0.0, due - time.perf_counter()))
                send(client, number)
                seconds.append(time.perf_counter() - due)

    with ThreadPoolExecutor(clients) as pool:
        workers = [pool.submit(work) for _ in range(clients)]
        return [seconds for worker in workers for seconds in worker.result()]
