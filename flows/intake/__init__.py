"""Intake: turns requests and webhooks into stored executions."""
