"""OpenAPI: the document of the HTTP interface, and its examples."""
