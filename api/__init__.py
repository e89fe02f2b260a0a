"""HTTP interface: routes by resource, request and response bodies, authentication and streams."""
