"""OpenAPI: the description of the HTTP interface, with examples."""
