"""The HTTP interface: routers by resource, and the one place where errors become answers."""
