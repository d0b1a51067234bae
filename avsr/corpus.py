"""What a corpus's folders say of a clip, and where a long one may be cut.

Data: Entry (media, transcript, perhaps word times) -> Part (seconds from, seconds to, transcript).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from avsr.errors import AvsrError

__all__ = ["Entry", "Part", "Word", "cut", "hold_out", "read_transcript"]

Word = tuple[str, float, float]  # the word, its start and its end, s


@dataclass(frozen=True)
class Entry:
    """One clip as its corpus lists it.

    Args:
        id: unique in the corpus.
        media: file with the picture, or with the sound of a corpus without pictures.
        text: transcript.
        split: train, validation or test.
        speaker: name of the speaker, "" where it is not known.
        words: when each word is said, empty where that is not known.
        sound: file of the sound where `media` has none.
        fault: what is known to be wrong with it, such as a missing transcript.
    """

    id: str
    media: Path
    text: str
    split: str
    speaker: str = ""
    words: tuple[Word, ...] = ()
    sound: Path | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Part:
    """A stretch of a clip.

    Args:
        start: s in the clip.
        end: s in the clip.
        text: what is said there.
        words: when each word is said, s in the part.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()


def cut(entry: Entry, seconds: float, longest: float) -> list[Part]:
    """Cut a clip into parts of at most `longest` seconds, between words.

    A part takes words as long as they fit; the cut is in the middle of the pause after the last.
    A word that alone is longer is a part of its own.

    Args:
        entry: the clip.
        seconds: its length.
        longest: most seconds of a part.

    Returns:
        One part where the clip is short enough.

    Raises:
        AvsrError: it is longer, and it is not known when its words are said.
    """
    if seconds <= longest:
        return [Part(0.0, seconds, entry.text, entry.words)]
    if not entry.words:
        raise AvsrError(
            f"{seconds:.1f} s, longer than {longest:g} s, without word times to cut it at",
            where=entry.id,
            todo="Raise --max-seconds, or leave it out",
        )
    words = [(w, min(start, seconds), min(end, seconds)) for w, start, end in entry.words]
    between = [(one[2] + two[1]) / 2 for one, two in pairwise(words)]
    edges = [0.0, *between, seconds]  # where word k may begin, and the last one end
    parts: list[Part] = []
    first = 0
    for k in range(1, len(words) + 1):
        if k == len(words) or edges[k + 1] - edges[first] > longest:
            start, end = edges[first], edges[k]
            said = tuple((w, a - start, b - start) for w, a, b in words[first:k])
            parts.append(Part(start, end, " ".join(w for w, _, _ in said), said))
            first = k
    return parts


def hold_out(speakers: Mapping[str, int], clips: int) -> set[str]:
    """Choose speakers for validation, always the same ones.

    Args:
        speakers: how many clips each has.
        clips: how many clips to hold out, at least.

    Returns:
        The speakers that come first by the digest of their names.
    """
    import hashlib

    chosen: set[str] = set()
    held = 0
    for name in sorted(speakers, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if held >= clips:
            break
        chosen.add(name)
        held += speakers[name]
    return chosen


def read_transcript(path: Path) -> tuple[str, tuple[Word, ...]]:
    """Read a transcript of LRS2 or LRS3: "Text:", facts, and in some files a table of words.

    Args:
        path: the .txt file.

    Returns:
        The text in lower case, and the words with their times (s), if the file has them.

    Raises:
        AvsrError: the file cannot be read, or is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        if not lines or not lines[0].startswith("Text:"):
            raise ValueError("the first line does not begin with 'Text:'")
        text = lines[0].removeprefix("Text:").strip().lower()
        if not text:
            raise ValueError("the text is empty")
        table = next((k for k, line in enumerate(lines) if line.startswith("WORD ")), len(lines))
        words = [_word(line.split()) for line in lines[table + 1 :] if line.strip()]
    except (OSError, ValueError, IndexError) as error:
        raise AvsrError(f"not a transcript: {error}", where=str(path)) from error
    return text, tuple(words)


def _word(cells: Sequence[str]) -> Word:
    start, end = float(cells[1]), float(cells[2])
    if not 0 <= start <= end:
        raise ValueError(f"{cells[0]} from {start} to {end} s")
    return cells[0].lower(), start, end
