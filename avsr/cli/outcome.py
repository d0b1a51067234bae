"""How a command ends: exit codes, and errors as one line on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from avsr.errors import AvsrError

__all__ = ["FAILED", "INTERRUPTED", "OK", "SETUP", "USAGE", "guarded", "one_line"]

OK = 0
FAILED = 1  # some inputs failed; the others were done
USAGE = 2  # the command line is wrong; nothing was done
SETUP = 3  # a model or a part of the installation is missing
INTERRUPTED = 130


def one_line(value: object) -> str:
    """Return text that cannot break a line of output or move the cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def _tell(error: AvsrError) -> None:
    print(f"avsr: error: {one_line(error)}", file=sys.stderr)


def guarded(run: Callable[[], int], tell: Callable[[AvsrError], None] = _tell) -> int:
    """Run a command and turn its known failures into a line on stderr and an exit code.

    Args:
        run: does the work and returns an exit code.
        tell: prints the line of an `AvsrError`.

    Returns:
        What `run` returned, the `exit_code` of an `AvsrError`, or 130 after Ctrl-C.
    """
    try:
        code = run()
        sys.stdout.flush()
        return code
    except AvsrError as error:
        tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        tell(AvsrError("interrupted", exit_code=INTERRUPTED))
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): say nothing, also not at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
