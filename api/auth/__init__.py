"""Authentication: API keys, tokens, route permissions, tenants and browser protection."""
