"""Flow nodes: entry points, conditions, loops, subworkflows and waits."""
