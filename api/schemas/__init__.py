"""Schemas: the request and response bodies of the HTTP interface."""
