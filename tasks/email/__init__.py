"""E-mail node: sends messages through the mail server of the settings."""
