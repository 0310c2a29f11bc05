"""``python -m latelier``: the same as the command ``latelier``."""

import sys

from latelier.cli import main

if __name__ == "__main__":
    sys.exit(main())
