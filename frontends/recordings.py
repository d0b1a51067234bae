"""A folder or a manifest of recordings to draw noise from.

path -> names in a fixed order -> wave [S] at 16 kHz, decoded when first asked for.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frontends.errors import AvsrError
from frontends.media import open_clip

__all__ = ["Recordings"]

Wave = NDArray[np.float32]

SOUNDS = {
    ".wav",
    ".flac",
    ".mp3",
    ".ogg",
    ".opus",
    ".m4a",
    ".aac",
    ".aiff",
    ".mp4",
    ".mkv",
    ".webm",
}
KEPT = 64  # decoded recordings kept at once


class Recordings:
    """Sound files to draw from, always in the same order.

    Args:
        source: a folder, read with its folders within; or a JSON-lines manifest with
            `audio_filepath` relative to its folder or to the folder above.
        split: of a manifest, the only split to read; "" for all.
        of: of a manifest, the only `kind` to read, such as "music"; "" for all.

    Raises:
        AvsrError: there is no such place, or no sound in it.
    """

    def __init__(self, source: Path | str, *, split: str = "", of: str = "") -> None:
        self.source = Path(source)
        if self.source.is_dir():
            if split or of:
                raise self._fault("a folder has neither splits nor kinds", "Name its manifest")
            found = (p for p in self.source.rglob("*") if p.suffix.lower() in SOUNDS)
            self.paths = sorted(p for p in found if p.is_file())
        elif self.source.is_file():
            self.paths = self._listed(split, of)
        else:
            raise self._fault("no such folder or manifest of sound", "Check the path")
        if not self.paths:
            raise self._fault("no sound files here", f"Put {', '.join(sorted(SOUNDS))} there")
        self._stems = np.array([path.stem for path in self.paths])

    def __len__(self) -> int:
        """How many recordings there are."""
        return len(self.paths)

    def read(self, index: int) -> Wave:
        """Decode a recording.

        Returns:
            [S] float32 at 16 kHz.

        Raises:
            MediaError: it cannot be read.
            AvsrError: it has no sound.
        """
        return _decoded(self.paths[index])

    def draw(self, rng: np.random.Generator, count: int, *, but: str = "") -> list[Wave]:
        """Decode so many different recordings, drawn by chance, or all if there are fewer.

        Args:
            rng: the chance.
            count: how many.
            but: stem of a recording that is left out: a clip is no noise to itself.
        """
        usable = np.flatnonzero(self._stems != but)
        if not len(usable):
            raise self._fault(f"no sound files but {but}'s own", "Give more recordings")
        chosen = rng.choice(len(usable), size=min(count, len(usable)), replace=False)
        return [self.read(int(usable[k])) for k in chosen]

    @cached_property
    def digest(self) -> str:
        """Name of this set: another one where a file is added, left out or of another size."""
        told = "\n".join(f"{path.name} {path.stat().st_size}" for path in self.paths)
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _listed(self, split: str, of: str) -> list[Path]:
        paths = []
        try:
            lines = self.source.read_text(encoding="utf-8").split("\n")
            rows = [json.loads(line) for line in lines if line.strip()]
            for row in rows:
                wanted = (not split or row.get("split") == split) and (not of or row["kind"] == of)
                if wanted:
                    paths.append(self._place(row["audio_filepath"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._fault(
                f"not a manifest of sound: {error!r}", "A line needs audio_filepath"
            ) from error
        return paths

    def _place(self, name: str) -> Path:
        here, above = self.source.parent / name, self.source.parent.parent / name
        return above if above.is_file() and not here.is_file() else here

    def _fault(self, what: str, todo: str) -> AvsrError:
        return AvsrError(what, where=str(self.source), todo=todo)


@lru_cache(maxsize=KEPT)
def _decoded(path: Path) -> Wave:
    wave = open_clip(path, streams="a").audio
    if wave is None or len(wave) == 0:
        raise AvsrError("a noise recording has no sound", where=str(path), todo="Take it away")
    return wave
