"""The pure core: documents, plans and JSON values, on the standard library and pydantic only."""
