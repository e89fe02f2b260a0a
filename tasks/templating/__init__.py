"""Templating: fills templates and expressions in the settings of a node."""
