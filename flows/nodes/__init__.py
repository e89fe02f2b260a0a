"""Nodes: runs one node's handler, with retries, timeouts and cancellation."""
