"""Authentication: callers, the roles that routes need, and permitted browsers and tenants."""
