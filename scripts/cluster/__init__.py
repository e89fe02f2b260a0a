"""Cluster: a Prefect server, a service and workers on loopback, without containers."""
