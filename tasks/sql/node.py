"""SQL node: runs one statement with bound parameters and returns its rows.

The database is one that the operator has named in ``SQL_CONNECTIONS``. A value of a parameter is
sent apart from the statement, so that no value can change it.
"""

import asyncio
import base64
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from prefect import task
from pydantic import Field, ValidationInfo, field_validator
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from engine.errors import NodeError, PermanentError
from engine.json_values import JsonValue, encode_json, is_list, is_object
from tasks.compute import compute, success
from tasks.config.base import TEMPLATED, Name, NodeConfig, fill, read_config
from tasks.config.fields import LONG_TEXT
from tasks.context import current_node_run
from tasks.sql_connections import SqlConnection

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

MAX_ROWS = 10_000
"""Maximum number of rows that a node can request."""
MAX_QUERY_CHARS = 50_000
"""Maximum length of a statement, in characters."""
_WITH_ROWS = ("select", "with", "values", "table")
"""First words of statements whose rows are read one by one."""


class SqlConfig(NodeConfig, title="SQL", category="call"):
    """Runs a SQL statement on a database of the settings, and returns its rows."""

    sql_connection: Name = Field(title="Connection")
    """The name of the database in ``SQL_CONNECTIONS``."""
    sql_query: str = Field(
        title="Statement", max_length=MAX_QUERY_CHARS, json_schema_extra=LONG_TEXT
    )
    """One statement with parameters such as ``:id``. It is not a template."""
    sql_parameters: Annotated[dict[str, JsonValue], TEMPLATED] = Field(
        default_factory=dict[str, JsonValue], title="Parameters", validate_default=True
    )
    """The values of the parameters by name; may contain templates."""
    sql_max_rows: int = Field(default=1_000, ge=1, le=MAX_ROWS, title="Maximum rows")
    """Maximum number of rows; a statement that returns more fails."""

    @field_validator("sql_parameters")
    @classmethod
    def _has_every_parameter(
        cls, values: dict[str, JsonValue], info: ValidationInfo
    ) -> dict[str, JsonValue]:
        query = info.data.get("sql_query")
        if isinstance(query, str) and (missing := sorted(_names(query) - values.keys())):
            raise ValueError(f"lacks the parameter '{missing[0]}' of the statement")
        return values


@task(name="sql")
async def handle_sql(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the rows as a list of objects, or ``{"rowCount"}`` for a statement without rows.

    Raises a ``NodeError`` if the connection does not exist, the statement fails, or it returns
    more than ``sqlMaxRows``. Only a failure of the connection is retryable.
    """
    config = read_config(SqlConfig, node)
    known = current_node_run().settings.sql_connections
    connection = known.get(config.sql_connection)
    if connection is None:
        names = ", ".join(sorted(known)) or "none"
        raise PermanentError(
            f"the connection '{config.sql_connection}' is not in SQL_CONNECTIONS (it has: {names})"
        )
    values = await compute(
        (node, input_data), fill, "sqlParameters", config.sql_parameters, input_data
    )
    parameters = {
        name: encode_json(value) if is_object(value) else value
        for name, value in dict(values).items()
        if name in _names(config.sql_query)
    }
    try:
        return await _run(connection, config, parameters)
    except (OperationalError, InterfaceError) as error:
        raise NodeError(f"the database is unavailable or rejects it: {error.orig}") from None
    except DBAPIError as error:
        raise PermanentError(f"the statement failed: {error.orig}") from None
    except SQLAlchemyError as error:
        raise PermanentError(f"the statement cannot be run: {error}") from None
    except OSError as error:
        raise NodeError(f"the database cannot be reached: {error}") from None


async def _run(
    connection: SqlConnection, config: SqlConfig, parameters: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    # Imported here, because a service without such nodes does not need it.
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    # Without a pool, because its connections would belong to one event loop and stay open.
    engine = create_async_engine(
        connection.url, connect_args=dict(connection.arguments), poolclass=NullPool
    )
    try:
        async with engine.begin() as opened:
            raw = await opened.get_raw_connection()
            execution = asyncio.ensure_future(_execute(opened, config, parameters))
            try:
                return await asyncio.shield(execution)
            except asyncio.CancelledError:
                # SQLite's thread would otherwise run to the end of the statement, and SQLAlchemy
                # would wait for it.
                if opened.dialect.name == "sqlite":
                    driver: Any = raw.driver_connection
                    await driver.interrupt()
                else:
                    execution.cancel()
                await asyncio.wait([execution])
                raise
    finally:
        await engine.dispose()


async def _execute(
    opened: "AsyncConnection", config: SqlConfig, parameters: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    statement = text(config.sql_query)
    if config.sql_query.lstrip("( \n\r\t").lower().startswith(_WITH_ROWS):
        result = await opened.stream(statement, dict(parameters))
        found = await result.fetchmany(config.sql_max_rows + 1)
        await result.close()
        names = list(result.keys())
    else:
        executed = await opened.execute(statement, dict(parameters))
        if not executed.returns_rows:
            count = executed.rowcount
            return success(f"{count} rows changed", {"rowCount": count})
        found, names = executed.fetchmany(config.sql_max_rows + 1), list(executed.keys())
    if len(found) > config.sql_max_rows:
        raise PermanentError(
            f"the statement returns more than {config.sql_max_rows} rows (sqlMaxRows)"
        )
    rows: list[JsonValue] = [dict(zip(names, map(_as_json, row), strict=True)) for row in found]
    return success(f"{len(rows)} rows returned", rows)


def _names(query: str) -> set[str]:
    """Return the names of the parameters of a statement."""
    return set(text(query).compile().params)


def _as_json(value: Any) -> JsonValue:
    """Return a value of a column as JSON: numbers as numbers, bytes as base64, others as text."""
    if isinstance(value, Decimal):
        value = (
            int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
        )
    if value is None or isinstance(value, bool | int | str) or is_list(value) or is_object(value):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
