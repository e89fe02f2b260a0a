"""Webhook nodes: the start by a webhook, its signature and its response."""
