"""`python -m avsr` is the command `avsr`."""

import sys

from avsr.cli import main

sys.exit(main())
