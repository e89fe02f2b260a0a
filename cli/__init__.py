"""Command line: runs, follows and inspects executions over HTTP (``./wf``)."""
