"""Ten hours of silent Opus in a WebM without a length were decoded until the clock ran out.

A header that tells a length is held to the limit at once. A live WebM, as browsers record, tells
none: 36,000 s in 16 MB took 35 s of a processor and was then refused for its time, not its
length. Such a file is now measured by its packets first, which are counted and not decoded.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from frontends.errors import MediaError
from frontends.media import Limits, open_clip
from frontends.sound import Sound


def live(path: Path, seconds: float) -> Path:
    """Silence of that length, one packet again and again, in a WebM that tells no length."""
    short = path.with_name("short.ogg")
    with av.open(str(short), "w") as out:
        stream = out.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 9600), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = 48_000, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with av.open(str(short)) as source, av.open(str(path), "w", options={"live": "1"}) as out:
        sound = source.streams.audio[0]
        data = [bytes(packet) for packet in source.demux(sound) if packet.size][3]
        made = out.add_stream_from_template(sound)
        for k in range(round(seconds * 50)):
            packet = av.Packet(data)
            packet.pts = packet.dts = 960 * k
            packet.duration, packet.time_base, packet.stream = 960, Fraction(1, 48_000), made
            out.mux(packet)
    with av.open(str(path)) as again:
        assert again.duration is None
    return path


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What of the sound was decoded."""
    frames: list[int] = []
    add = Sound.add
    monkeypatch.setattr(Sound, "add", lambda self, f: (frames.append(f.samples), add(self, f))[1])
    return frames


def test_it_is_refused_by_its_length_before_anything_is_decoded(
    tmp_path: Path, added: list[int]
) -> None:
    with pytest.raises(MediaError, match="lasts longer than 20 s"):
        open_clip(live(tmp_path / "a.webm", 60), limits=Limits(max_seconds=20))
    assert not added


def test_a_recording_of_a_browser_is_read_whole(tmp_path: Path, added: list[int]) -> None:
    clip = open_clip(live(tmp_path / "a.webm", 3))
    assert clip.duration == pytest.approx(3.0, abs=0.05)
    assert added
    assert clip.warnings == ()
