"""Code node: runs a user's Python code in a limited child process."""
