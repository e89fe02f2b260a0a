"""What tests of the journal know of every execution."""

BEGUN = 2
"""The sequence number of an execution that was accepted and claimed, and of which nothing ran."""
