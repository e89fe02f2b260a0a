"""Live streams: events of the journal, delivered to Server-Sent Events and WebSocket clients."""
