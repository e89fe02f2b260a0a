"""Callbacks: sends the final state of an execution to the URL that its caller gave."""
