"""Comparison service: the chain of ten nodes as a DBOS workflow of ten steps, behind FastAPI.

Run by the interpreter of the comparison environment: ``dbos_service.py PORT DATABASE_URL``.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from dbos import DBOS
from fastapi import FastAPI

STEPS = 10
port, database_url = int(sys.argv[1]), sys.argv[2]
DBOS(
    config={
        "name": "bench",
        "system_database_url": database_url,
        "run_admin_server": False,
        "log_level": "WARNING",
    }
)


@DBOS.step()
async def add_field(data: dict[str, Any], name: str, value: int) -> dict[str, Any]:
    """Return the object with one more field, as the node ``addField`` does."""
    return {**data, name: value}


@DBOS.workflow()
async def line() -> dict[str, Any]:
    """Run the steps, one after another."""
    data: dict[str, Any] = {}
    for number in range(STEPS):
        data = await add_field(data, f"f{number}", number)
    return data


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    """Start DBOS in the event loop of the server."""
    DBOS.launch()
    yield
    await asyncio.to_thread(DBOS.destroy)


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def root() -> dict[str, str]:
    """Report that the service runs."""
    return {"status": "running"}


@app.post("/runs")
async def start() -> dict[str, str]:
    """Start a workflow."""
    handle = await DBOS.start_workflow_async(line)
    return {"id": handle.workflow_id}


@app.post("/waited-runs")
async def start_and_wait() -> dict[str, Any]:
    """Start a workflow, and return its result."""
    handle = await DBOS.start_workflow_async(line)
    return {"id": handle.workflow_id, "result": await handle.get_result()}


@app.get("/runs/{run_id}")
async def state(run_id: str) -> dict[str, Any]:
    """Return the status of a workflow, and its result after the end."""
    status = await DBOS.get_workflow_status_async(run_id)
    assert status is not None
    return {"status": status.status, "result": status.output}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
