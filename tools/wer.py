"""Word error rate of two files: the functions behind `avsr score`, in ten lines.

    python tools/wer.py REF HYP

Data: two text, JSON-lines or trn files -> sclite's table on stdout. For more: `avsr score --help`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from avsr.errors import AvsrError
from avsr.pairs import match
from avsr.score import score
from avsr.score_report import Report


def main(words: list[str]) -> int:
    """Print the table and return an exit status."""
    if len(words) != 2:
        print("usage: python tools/wer.py REF HYP", file=sys.stderr)
        return 2
    try:
        pairs = match(Path(words[0]), Path(words[1]))
    except AvsrError as error:
        print(f"wer: error: {error}", file=sys.stderr)
        return 1
    result = score([pair.reference for pair in pairs], [pair.hypothesis for pair in pairs])
    speakers = tuple(pair.speaker for pair in pairs)
    ids = tuple(pair.id for pair in pairs)
    print(Report(result, ids, speakers if all(speakers) else ()).table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
