"""Queries: the read side; executions, logs, listings and events."""
