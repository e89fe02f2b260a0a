"""Config: how the settings of a node are declared, read and described to an editor."""
