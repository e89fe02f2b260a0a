"""Bodies: reads request bodies strictly and with limits, and encodes large responses."""
