"""Human tasks: reads, lists and completes the tasks of people."""
