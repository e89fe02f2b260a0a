"""Main project: creates its tables with the DDL of the contract, and rows in them."""

import sqlite3
from pathlib import Path

DDL = """
CREATE TABLE workflows (
    id TEXT PRIMARY KEY, organizationId TEXT, name TEXT NOT NULL, data TEXT NOT NULL, tags TEXT,
    isPublic INTEGER DEFAULT 0, createdAt TEXT, updatedAt TEXT
    {organization_of_workflow}
);
CREATE TABLE workflow_executions (
    id TEXT PRIMARY KEY, workflowId TEXT NOT NULL, organizationId TEXT,
    status TEXT DEFAULT 'pending', triggerType TEXT DEFAULT 'manual', inputs TEXT,
    currentNodeId TEXT, nodeResults TEXT, finalOutput TEXT, error TEXT,
    createdAt TEXT, startedAt TEXT, completedAt TEXT,
    triggeredByName TEXT, versionNumber INTEGER, favouriteColour TEXT,
    FOREIGN KEY(workflowId) REFERENCES workflows(id) ON DELETE CASCADE
    {organization_of_execution}
);
CREATE TABLE execution_logs (
    id TEXT PRIMARY KEY, executionId TEXT NOT NULL, nodeId TEXT, nodeType TEXT, nodeLabel TEXT,
    status TEXT, inputData TEXT, outputData TEXT, error TEXT, duration INTEGER, timestamp TEXT,
    FOREIGN KEY(executionId) REFERENCES workflow_executions(id) ON DELETE CASCADE
);
"""
_REFERENCE = ", FOREIGN KEY(organizationId) REFERENCES organizations(id) ON DELETE CASCADE"


def open_as_main_project(path: Path) -> sqlite3.Connection:
    """Open a connection with the settings of the main project's backend."""
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA busy_timeout=5000")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def create_main_database(
    path: Path, *, organizations: bool = False, references: bool = False
) -> None:
    """Create a database of the main project with a workflow, an execution and a log."""
    connection = open_as_main_project(path)
    if organizations:
        connection.execute("CREATE TABLE organizations(id TEXT PRIMARY KEY, name TEXT)")
        connection.execute("INSERT INTO organizations VALUES ('org-1', 'First')")
    reference = _REFERENCE if references else ""
    connection.executescript(
        DDL.format(organization_of_workflow=reference, organization_of_execution=reference)
    )
    if not references or organizations:
        connection.execute(
            "INSERT INTO workflows(id, name, data, organizationId) VALUES ('old', 'Old', '{}', ?)",
            ("org-1" if organizations else None,),
        )
        connection.execute(
            "INSERT INTO workflow_executions(id, workflowId, status, favouriteColour)"
            " VALUES ('old-run', 'old', 'running', 'green')"
        )
        connection.execute(
            "INSERT INTO execution_logs(id, executionId, nodeId, status, outputData)"
            " VALUES ('old-log', 'old-run', 'n', 'completed', 'not json')"
        )
    connection.close()
