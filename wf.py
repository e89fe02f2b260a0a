"""Command line for executions: ``./wf``, ``wf.bat`` or ``python wf.py``."""

import sys

from cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
