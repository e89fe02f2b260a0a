"""Routes: one module per resource of the HTTP interface."""
