"""Node types: handlers as Prefect tasks, and the models of their configs."""
