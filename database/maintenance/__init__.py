"""Maintenance: retention of ended executions, and the invariants of the database."""
