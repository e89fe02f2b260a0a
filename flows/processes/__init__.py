"""Processes: child processes of the service that run its executions, and their supervision."""
