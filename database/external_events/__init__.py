"""External events: events from outside that nodes wait for."""
