"""SQL connections: the databases of ``sql`` nodes, as the settings name them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SqlConnection:
    """The address of a database for SQLAlchemy. It may contain a password."""

    url: Any = field(repr=False)
    """A ``sqlalchemy.URL`` with an asynchronous driver."""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """Keyword arguments of the driver."""
