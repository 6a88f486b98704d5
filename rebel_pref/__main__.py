"""``python -m rebel_pref`` is the command ``rebel-pref``."""

import sys

from rebel_pref.cli import main

if __name__ == "__main__":
    sys.exit(main())
