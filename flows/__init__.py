"""Flows: accepts executions, runs them as Prefect flows and sends their callbacks."""
