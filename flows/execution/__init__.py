"""Execution: runs one execution from its plan and records each step in the journal."""
