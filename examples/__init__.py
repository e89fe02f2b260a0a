"""Example workflows, and the demo that runs one of them."""
