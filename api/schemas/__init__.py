"""Schemas: request and response bodies."""
