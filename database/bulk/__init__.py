"""Bulk: one action on many executions, which survives crashes and treats each of them once."""
