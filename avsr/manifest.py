"""Manifests: one JSON object a line, one line a clip.

Data: `manifest.jsonl` -> list of Item. Field names are NeMo's (`audio_filepath`, `duration`,
`text`) plus `video_filepath`; paths are relative to the manifest's folder.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avsr.errors import ConfigError


@dataclass(frozen=True)
class Item:
    """One clip of a corpus.

    Args:
        id: unique name.
        path: media file: the video where there is one, the sound otherwise.
        duration: seconds.
        text: reference transcript.
        corpus: name of the corpus.
        split: train, validation or test.
        speaker: name of the speaker.
        has_video: the media file shows the speaker.
        roi: "given" where its picture is a mouth crop already.
    """

    id: str
    path: Path
    duration: float
    text: str
    corpus: str = ""
    split: str = ""
    speaker: str = ""
    has_video: bool = False
    roi: Literal["auto", "given"] = "auto"


def read_manifest(path: Path | str, keep: Callable[[Item], bool] | None = None) -> list[Item]:
    """Read a manifest.

    Args:
        path: JSON-lines file.
        keep: which items to return, all by default.

    Raises:
        ConfigError: no such file, not UTF-8, or a line that is not a clip.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors open a file with a mark
    except OSError as error:
        raise ConfigError(
            f"cannot read the manifest: {error.strerror}", where=str(path), todo="Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the manifest is not text: {error}",
            where=str(path),
            todo="A manifest is JSON, one object a line, in UTF-8.",
        ) from error
    lines = text.split("\n")  # not splitlines(): a JSON string may hold U+2028 and its like
    items = [_item(line, number, path) for number, line in enumerate(lines, 1) if line.strip()]
    return [item for item in items if keep is None or keep(item)]


def _item(line: str, number: int, path: Path) -> Item:
    """Parse one line."""
    try:
        row = json.loads(line)
        video = row.get("video_filepath")
        media = video or row["audio_filepath"]
        duration = float(row["duration"])
        if not media or not isinstance(row["text"], str):
            raise ValueError("the file and the text must be strings, the file not an empty one")
        if not (math.isfinite(duration) and duration > 0):
            raise ValueError(f"duration must be above 0, got {duration}")
        return Item(
            id=str(row.get("id", media)),
            path=path.parent / media,
            duration=duration,
            text=row["text"],
            corpus=str(row.get("corpus", "")),
            split=str(row.get("split", "")),
            speaker=str(row.get("speaker", "")),
            has_video=bool(video),
            roi="given" if row.get("roi") == "given" else "auto",
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"line {number} is not a clip: {error!r}",
            where=str(path),
            todo="A line needs audio_filepath or video_filepath, duration and text.",
        ) from error


def seconds(items: Iterable[Item]) -> float:
    """Total length of some clips."""
    return sum(item.duration for item in items)
