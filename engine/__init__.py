"""The pure core: what a workflow means.

Standard library and pydantic only; the import contract enforces it.
"""
