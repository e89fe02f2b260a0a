"""Recorded client: a client of a Prefect server that records requests and answers from a table."""

import asyncio
from typing import Any, cast

from prefect.client.orchestration import PrefectClient


class RecordedClient:
    """Records requests and answers them.

    An exception is raised, and a function is called with the arguments of the request.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.requests: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        async def request(*args: Any, **kwargs: Any) -> Any:
            self.requests.append((name, args, kwargs))
            answer = self.answers.get(name)
            if callable(answer):
                answer = answer(*args, **kwargs)
            if asyncio.iscoroutine(answer):
                answer = await answer
            if isinstance(answer, Exception):
                raise answer
            return answer

        return request

    @property
    def typed(self) -> PrefectClient:
        """This object as the type that its users require."""
        return cast("PrefectClient", self)

    @property
    def names(self) -> list[str]:
        """The names of the requests in their order."""
        return [name for name, *_ in self.requests]

    def ends(self) -> list[tuple[str, Any, str]]:
        """Return the flow run, the state type and the message of each end that was set."""
        ended = [args for name, args, _ in self.requests if name == "set_flow_run_state"]
        return [(str(flow_run), state.type, state.message) for flow_run, state in ended]
