"""Carrying executions out: the runner, the walk through the graph, and Prefect around it."""
