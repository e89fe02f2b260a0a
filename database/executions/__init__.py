"""Executions: the write side; every change of an execution is one transaction."""
