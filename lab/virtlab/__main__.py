"""C(python -m virtlab) is the command C(virtlab)."""

import sys

from virtlab.cli import main

sys.exit(main())
