"""Streaming: follows the event log once and sends events to the connected clients."""
