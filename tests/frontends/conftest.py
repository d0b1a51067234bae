"""Fixtures of the front ends: made clips, real clips, face models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.frontends.clips import write_clip


@pytest.fixture
def clip_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of clips: `clip_file("name.mkv", times=..., wave=...)`."""
    return lambda name, **made: write_clip(tmp_path / name, **made)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips."""
    folder = Path(
        os.environ.get("AVSR_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")
    ).resolve()
    if not (folder / "manifest.jsonl").is_file():
        pytest.skip(f"no clips at {folder}; set AVSR_DATA to the folder that holds manifest.jsonl")
    return folder
