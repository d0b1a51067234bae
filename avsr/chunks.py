"""A long recording cut where nobody speaks, and the texts of its parts put together again.

Data: activity [W] -> `Chunk`s that sound and lips share; words of neighbours -> where one ends and
the other begins.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsr.errors import ConfigError
from frontends.speech import HOP

__all__ = ["GRID", "Chunk", "Cutting", "plan", "seam"]

GRID = 0.04  # s; a picture at 25 a second and 640 samples: cuts that fall on both
QUIET = 0.35  # activity below which a moment is a pause
_PAUSE = 0.25  # s over which a moment's activity is averaged
_LEAST = 2.0  # s; where no pause says so, a last chunk shorter than that is not made
_SHORT = 1.0  # s; a chunk between two pauses has at least that
_EDGE = 0.5  # s of a long pause that stay with the words beside it
_TAIL = 16  # words compared on each side of a seam


@dataclass(frozen=True)
class Cutting:
    """How a long recording is cut.

    Args:
        limit: longest chunk, s; also the length up to which a recording is read in one piece.
        overlap: s that neighbours share where no pause was found.
        find: "voice" or "energy", what tells a pause.
        start: where to begin, s.
        end: where to end, s; None for the end.
        pause: s; so long a pause always ends a chunk. Models learn from single utterances, and one
            that hears several may stop after the first.
    """

    limit: float = 20.0
    overlap: float = 2.0
    find: str = "voice"
    start: float = 0.0
    end: float | None = None
    pause: float = 0.5

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 4.0 <= self.limit <= 30.0:
            what = f"chunks of {self.limit:g} s"
            raise ConfigError(what, todo="Choose from 4 to 30: the audio tower hears 30 s.")
        if not 0.0 <= self.overlap <= self.limit / 4:
            raise ConfigError(f"an overlap of {self.overlap:g} s in chunks of {self.limit:g} s")
        if not self.pause >= 0.1:
            raise ConfigError(f"a pause of {self.pause:g} s", todo="Choose at least 0.1.")
        if self.find not in ("voice", "energy"):
            raise ConfigError(f"no way {self.find!r} to find a pause", todo="voice or energy")
        if not self.start >= 0.0 or (self.end is not None and not self.end > self.start):
            raise ConfigError(f"from {self.start:g} to {self.end} s is no part of a recording")

    @property
    def partial(self) -> bool:
        """Whether less than the whole recording is wanted."""
        return self.start > 0.0 or self.end is not None


@dataclass(frozen=True)
class Chunk:
    """A part of a recording.

    Args:
        start: s of clip time, on the grid.
        end: s of clip time, on the grid but for the recording's own end.
        shared: s that the chunk before it has too.
        active: whether anything in it is as loud or as likely speech as no pause is.
    """

    start: float
    end: float
    shared: float = 0.0
    active: bool = True


def plan(
    activity: NDArray[np.float32] | None, seconds: float, cutting: Cutting | None = None
) -> list[Chunk]:
    """Cut a recording into chunks.

    A pause of `cutting.pause` is always a cut, in its middle; one of two seconds is a chunk of its
    own. Between such pauses a chunk that is too long is cut in the latest of its quietest moments;
    where it has none, at the limit, and the next chunk begins `overlap` earlier.

    Args:
        activity: [W] each 32 ms, from `frontends.speech`; None where there is no sound.
        seconds: length of the recording.
        cutting: how; its start and end are kept to.

    Returns:
        Chunks in order that leave nothing out, none longer than the limit.

    Raises:
        ConfigError: the wanted part lies beyond the recording.
    """
    cutting = Cutting() if cutting is None else cutting
    at = _on_grid(cutting.start)
    end = seconds if cutting.end is None else min(_on_grid(cutting.end), seconds)
    if not at < end:
        raise ConfigError(f"the recording ends at {seconds:.2f} s, before {cutting.start:g} s")
    smooth = None if activity is None or len(activity) == 0 else _smooth(activity)
    marks = [] if smooth is None else _marks(smooth, cutting.pause)
    chunks: list[Chunk] = []
    shared = 0.0
    while True:
        last = min(at + cutting.limit, end - _SHORT)
        mark = next((m for m in marks if at + _SHORT <= m <= last), None)
        if mark is None and end - at <= cutting.limit:
            break
        latest = _on_grid(min(at + cutting.limit, end - _LEAST) - GRID / 2)
        if mark is None and smooth is not None:
            mark = _quietest(smooth, at + 0.4 * cutting.limit, latest)
        cut = latest if mark is None else mark
        chunks.append(Chunk(at, cut, shared, _active(smooth, at, cut)))
        shared = _on_grid(cutting.overlap) if mark is None else 0.0
        at = _on_grid(cut - shared)
    return [*chunks, Chunk(at, end, shared, _active(smooth, at, end))]


def _on_grid(seconds: float) -> float:
    return round(round(seconds / GRID) * GRID, 6)


def _smooth(activity: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean over the moments around each."""
    width = max(1, round(_PAUSE / HOP))
    padded = np.pad(activity.astype(np.float64), width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")[: len(activity)]


def _marks(smooth: NDArray[np.float64], pause: float) -> list[float]:
    """Where pauses of some length are cut: in the middle, long ones near both of their ends."""
    quiet = np.r_[False, smooth < QUIET, False]
    edges = np.flatnonzero(np.diff(quiet.astype(int))) * HOP
    marks: list[float] = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start >= 4 * _EDGE:
            marks += [_on_grid(start + _EDGE), _on_grid(end - _EDGE)]
        elif end - start >= pause:
            marks.append(_on_grid((start + end) / 2))
    return marks


def _active(smooth: NDArray[np.float64] | None, start: float, end: float) -> bool:
    """Whether a stretch is more than a pause; unknown without sound, or after its end."""
    part = None if smooth is None else smooth[int(start / HOP) : int(end / HOP)]
    return part is None or len(part) == 0 or bool(part.max() >= QUIET)


def _quietest(smooth: NDArray[np.float64], earliest: float, latest: float) -> float | None:
    """The latest of the quietest moments in a stretch, or None where all are speech."""
    first, last = int(earliest / HOP), min(int(latest / HOP), len(smooth))
    if first >= last:  # the sound has ended, and lips may go on
        return None
    stretch = smooth[first:last]
    least = float(stretch.min())
    if least >= QUIET:
        return None
    index = first + int(np.flatnonzero(stretch <= least + 0.02)[-1])
    return min(_on_grid((index + 0.5) * HOP), latest)


def seam(left: Sequence[str], right: Sequence[str]) -> tuple[int, int]:
    """Find where two texts of overlapping sound meet.

    The longest run of words that ends one and begins the other is taken for the shared sound; what
    either text has beyond it at the cut is a word that the cut broke, and is dropped.

    Args:
        left: words of the earlier chunk.
        right: words of the later one.

    Returns:
        How many words of `left` to keep, and how many of `right` to leave out; all are kept where
        nothing is shared.
    """
    tail = [_plain(word) for word in left[-_TAIL:]]
    head = [_plain(word) for word in right[:_TAIL]]
    match = difflib.SequenceMatcher(None, tail, head, autojunk=False).find_longest_match()
    if match.size == 0 or len(tail) - match.a - match.size > 2 or match.b > 2:
        return len(left), 0
    return len(left) - len(tail) + match.a + match.size, match.b + match.size


def _plain(word: str) -> str:
    return "".join(c for c in word.lower() if c.isalnum())
