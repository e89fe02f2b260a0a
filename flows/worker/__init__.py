"""Worker: claims executions, runs them in its own thread, and keeps their leases."""
