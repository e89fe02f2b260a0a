"""Schedules: schedule nodes of saved workflows, their next instants and their executions."""
