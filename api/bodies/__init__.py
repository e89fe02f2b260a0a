"""Bodies: reads request bodies and encodes responses, off the event loop if they are large."""
