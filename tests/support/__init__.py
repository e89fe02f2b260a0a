"""Support: servers, clients, documents and probes that tests share."""
