"""SQL node: runs one statement on a database that the settings name."""
