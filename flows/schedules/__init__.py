"""Schedules: starts executions of saved workflows by the clock."""
