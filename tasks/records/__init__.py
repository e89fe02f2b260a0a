"""Record nodes: handlers that work on lists of objects."""
