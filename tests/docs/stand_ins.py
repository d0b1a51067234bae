"""What a reader has and a test has not, in miniature: name -> files in the current folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.test_readme import ROOT

DEMO = ROOT / "avsr" / "models" / "demo.mp4"
TEXT = "Text:  PLACE GREEN BY K SEVEN AGAIN\nConf:  4\n"


def lrs3(folder: Path) -> None:
    """The folders of LRS3, a clip in each: the packaged one."""
    for place in ("trainval/s1", "trainval/s2", "test/t0"):
        home = folder / "lrs3" / place
        home.mkdir(parents=True)
        shutil.copyfile(DEMO, home / "00001.mp4")
        (home / "00001.txt").write_text(TEXT, encoding="utf-8")


MAKERS: dict[str, Callable[[Path], None]] = {"lrs3": lrs3}
