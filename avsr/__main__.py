"""The command `avsr`, and `python -m avsr`: a process of its own around `avsr.cli.main`."""

import gc
import sys

from avsr.cli import main


def process() -> int:
    """Run the command line, then end without the collector's last walk over a million objects.

    That walk frees what the end of the process frees anyway, and takes a second once a model was
    loaded.

    Returns:
        The exit status.
    """
    code = main()
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(process())
