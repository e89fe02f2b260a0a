"""Prefect adapter: runs flows and tasks without a Prefect server, or against one."""
