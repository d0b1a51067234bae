"""`avsr transcribe` and `avsr roi` on a clip in every kind of file: the same words and lips.

More than fifty kinds: containers, codecs, rates, offsets, turns, sizes, depths, tracks.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from avsr.cli import main
from avsr.errors import AvsrError
from avsr.score import score
from avsr.weights import pull
from frontends.lips import LipTracker
from frontends.media import open_clip
from tests.avsr.cli.kinds import DEMO, KINDS, Kind, write

TEXT = DEMO.with_suffix(".txt").read_text(encoding="utf-8").strip()
FILMS = [name for name, kind in KINDS.items() if kind.picture is not None]
MUTE = ("no-sound.mp4", "silent.mp4")
FEW = ("vfr.mp4", "turned90.mp4")  # that are tried each time


def made(kind: Kind, folder: Path) -> Path:
    """The file, or a skip where this build of the media library has no such encoder."""
    try:
        return write(kind, folder)
    except (av.error.EncoderNotFoundError, av.codec.codec.UnknownCodecError) as error:
        pytest.skip(f"no encoder: {error}")


def need(*names: str) -> None:
    pytest.importorskip("ai_edge_litert")
    try:
        for name in names:
            pull(name, local_files_only=True)
    except AvsrError as error:
        pytest.skip(f"no weights: {error}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds")


@pytest.fixture(scope="module")
def own() -> NDArray[np.uint8]:
    """The demo's own crops."""
    need("face-models")
    return LipTracker(weights=pull("face-models")).track(open_clip(DEMO)).crops


def test_the_list_is_long_enough() -> None:
    assert len(KINDS) >= 50
    endings = {Path(name).suffix for name in KINDS}
    assert {".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".wav", ".mp3", ".flac", ".ogg"} <= (
        endings
    )


@pytest.mark.slow
@pytest.mark.weights
def test_every_kind_is_transcribed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one call, as a user with a folder of clips would."""
    need("whisper-tiny.en", "smollm2-135m-instruct", "face-models")
    paths = [made(kind, folder) for kind in KINDS.values()]
    words = ["--output-format", "json", "--name-template", "{stem}.{suffix}.{ext}"]
    assert main(["transcribe", *map(str, paths), "--output-dir", str(folder), *words]) == 0
    assert "Traceback" not in capsys.readouterr().err
    said = {}
    for path in paths:
        (found,) = folder.glob(f"{path.stem}.{path.suffix[1:]}.json")
        said[path.name] = json.loads(found.read_text(encoding="utf-8"))
    assert len(said) == len(KINDS)
    for name, read in said.items():
        film, mute = name in FILMS, name in MUTE
        assert read["modality"] == ("v" if mute else "av" if film else "a"), name
        if not mute:  # of lips alone the demo is not read to the letter
            assert score([TEXT], [read["text"]], samples=0).wer <= 0.2, (name, read["text"])
    told = [w for name in ("tracks.mkv", *MUTE) for w in said[name]["warnings"]]
    assert any("3 sound tracks" in w for w in told)
    assert any("silent" in w for w in told)


@pytest.mark.weights
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FEW else pytest.mark.slow) for n in FILMS]
)
def test_the_lips_are_those_of_the_demo(
    folder: Path, own: NDArray[np.uint8], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = KINDS[name]
    path = made(kind, folder)
    crops = folder / f"{name}.crops.mkv"
    assert main(["roi", str(path), "--json", "--save-crops", str(crops)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["coverage"] >= 0.9
    assert report["faces"] == 1
    shown = [frame.image[..., 0] for frame in open_clip(crops).frames()]
    late = round(25 * max(0.0, kind.late[0] - kind.late[1])) if kind.sound else 0
    pairs = list(zip(shown[late:], own, strict=False))[5:-5]
    assert len(pairs) > 55
    apart = [np.abs(a.astype(float) - b.astype(float)).mean() for a, b in pairs]
    assert np.mean(apart) < 9, "grey values"


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("name", ["plain.mp4", "vp9.webm", "flac-48000.flac"])
def test_bytes_through_standard_input(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need("whisper-tiny.en", "smollm2-135m-instruct", "face-models")
    data = made(KINDS[name], folder).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["transcribe", "-", "--stdout"]) == 0
    assert score([TEXT], [capsys.readouterr().out.strip()], samples=0).wer <= 0.5
