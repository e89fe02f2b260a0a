"""Config: declares, validates and describes the settings of nodes."""
