"""A long recording: sound and lips of a chunk are of the same instants, and its text is whole.

The recording tells its own time: grey levels count pictures, the wave is a ramp.
"""

from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from avsr.api import Recogniser
from avsr.chunks import Chunk, Cutting
from avsr.errors import AvsrError, ConfigError, MediaError
from avsr.long import LongReader, join
from avsr.prepare import ClipOptions
from avsr.transcript import Segment, Transcript, Word
from frontends.lips import given_stream
from tests.frontends.clips import write_clip

SECONDS = 12.6
WORD = 0.5  # s
GREY = 8


def level(index):
    return 16 + GREY * (index % 25)


def ramp_of(times):
    """So flat that nothing in it is a pause."""
    return 0.3 + times / 100


def moment(value):
    """The inverse."""
    return (float(value) - 0.3) * 100


def picture(index):
    return np.full((96, 96, 3), level(index), dtype=np.uint8)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    ramp = ramp_of(np.arange(round(SECONDS * 16_000)) / 16_000)
    path = tmp_path_factory.mktemp("long") / "talk.mkv"
    times = [k / 25 for k in range(round(SECONDS * 25))]
    return write_clip(path, times=times, picture=picture, wave=ramp[None].astype(np.float32))


class Listener:
    """Hears a word each half second of the ramp, whole ones only."""

    def __init__(self, lips="read"):
        self.preparer = SimpleNamespace(lips=lips)
        self.read = []
        self.batches = []

    def encode(self, clips):
        self.read += clips

    def recognise(self, clips, **_):
        self.batches.append(len(clips))
        return [self._hear(one) for one in clips]

    def _hear(self, one):
        start = moment(one.wave[0]) if one.wave is not None else 0.0
        first = int(np.ceil(start / WORD - 0.02))  # the wave was rounded to 16 bits
        last = int((start + one.seconds) / WORD + 0.02)
        text = " ".join(f"w{k}" for k in range(first, last))
        return Transcript(
            text,
            (Segment(0.0, one.seconds, text),),
            rates={"audio": 4, "video": 2},
            modality=one.modality,
            tokens={"audio": 3, "text": last - first},
            timing={"towers": 0.5, "total": 0.5, "rtf": 1.0},
        )


def read(path, listener, **settings):
    modality = settings.pop("modality", "auto")
    batch = settings.pop("batch_size", 1)
    cutting = Cutting(**{"limit": 5.0, "overlap": 1.0, "find": "energy", **settings})
    reader = LongReader(listener, cutting, batch_size=batch)
    return reader.read(path, modality=modality, roi="given")


def test_sound_and_lips_of_a_chunk_begin_and_end_together(recording):
    listener = Listener()
    read(recording, listener)
    assert len(listener.read) == 3
    assert sum(one.seconds for one in listener.read) == pytest.approx(SECONDS + 2, abs=0.1)
    for one in listener.read:
        start = moment(one.wave[0])
        assert len(one.wave) / 16_000 == pytest.approx(one.seconds, abs=1e-4)
        assert len(one.crops) == round(one.seconds * 25)
        for k in (0, len(one.crops) - 1):
            index = round(start * 25) + k
            assert one.crops[k].mean() == pytest.approx(level(index), abs=GREY / 2)


@pytest.mark.parametrize("batch", [1, 2, 9])
@pytest.mark.parametrize("modality", ["auto", "a"])
def test_the_text_is_whole_and_said_once_whatever_the_batch(recording, batch, modality):
    listener = Listener()
    made = read(recording, listener, batch_size=batch, modality=modality)
    assert made.text == " ".join(f"w{k}" for k in range(25))
    assert made.modality == ("av" if modality == "auto" else "a")
    assert max(listener.batches) <= batch
    ends = [(segment.start, segment.end) for segment in made.segments]
    assert ends[0][0] == 0 and ends[-1][1] == pytest.approx(SECONDS, abs=0.05)  # noqa: PT018
    assert all(a[1] == b[0] for a, b in pairwise(ends))
    assert made.tokens["audio"] == 9
    assert made.timing["towers"] == 1.5
    assert made.input["chunks"] == 3
    assert len(made.input["sha256"]) == 64


def test_a_part_of_a_recording(recording):
    made = read(recording, Listener(), start=4.0, end=8.0)
    assert made.text == "w8 w9 w10 w11 w12 w13 w14 w15"
    assert (made.segments[0].start, made.segments[-1].end) == (4.0, 8.0)
    with pytest.raises(ConfigError, match="ends at"):
        read(recording, Listener(), start=60.0)


def test_the_face_and_the_sound_track_that_were_chosen_are_read(recording):
    listener, asked = Listener(), []
    tracker = SimpleNamespace(follow=given_stream)
    listener.preparer.tracker = lambda options: asked.append(options) or tracker
    reader = LongReader(listener, Cutting(5.0, 1.0, "energy"))
    chosen = ClipOptions(face="track:2", audio_track=1)
    reader.read(recording, clip=chosen)
    assert asked == [chosen]
    with pytest.raises(MediaError, match="no sound track number 2"):
        reader.read(recording, clip=ClipOptions(audio_track=2))


def test_what_a_recording_lacks_is_told(tmp_path, recording):
    mute = write_clip(tmp_path / "mute.mkv", times=[k / 25 for k in range(200)], picture=picture)
    made = read(mute, Listener())
    assert (made.modality, made.rates["video"]) == ("v", 2)
    for path, modality, told in ((mute, "av", "no audio"), (recording, "v", None)):
        if told is None:
            assert read(path, Listener(), modality=modality).modality == "v"
        else:
            with pytest.raises(MediaError, match=told):
                read(path, Listener(), modality=modality)
    with pytest.raises(ConfigError, match="sound alone"):
        read(recording, Listener(lips="ignore"), modality="av")


def test_silent_chunks_are_not_read_and_said(tmp_path):
    wave = np.zeros((1, 16_000 * 12), dtype=np.float32)
    wave[0, : 16_000 * 4] = ramp_of(np.arange(16_000 * 4) / 16_000)
    path = write_clip(tmp_path / "half.wav", wave=wave)
    made = read(path, Listener())
    assert any("s are silent; nothing was read" in told for told in made.warnings)
    assert made.text.split()[0] == "w0"
    with pytest.raises(MediaError, match="neither audible sound"):
        read(write_clip(tmp_path / "void.wav", wave=np.zeros_like(wave)), Listener())


def test_last_words_long_before_the_end_are_warned_of():
    def part(start, end, text):
        return Chunk(start, end), Transcript(text, (Segment(0, end - start, text),))

    facts = {"path": "x", "duration": 40.0}

    def warned(*parts, span=None):
        return join([part(*one) for one in parts], Counter(), dict(facts), (), span).warnings

    early = ("the last words end at 20 s of 40 s",)
    assert warned((0, 20, "a"), (20, 40, "b")) == ()
    assert warned((0, 20, "a"), (20, 40, "")) == early
    assert warned((0, 20, "a"), span=(0, 40)) == early  # no chunk after it had a voice
    assert warned((0, 20, "a"), span=(0, 20)) == ()  # no more was asked for
    assert warned((10, 20, "a"), span=(10, 40)) == early
    assert warned((0, 20, ""), (20, 40, "")) == ("no word was heard in 40 s",)


def test_words_lie_in_the_time_of_the_recording():
    def part(start, end, *words):
        text = " ".join(word.text for word in words)
        return Chunk(start, end), Transcript(text, (Segment(0, end - start, text, words=words),))

    first = part(0, 20, Word("a", 18.0, 18.5))
    second = part(20, 40, Word("b", 0.25, 0.75), Word("c"))
    made = join([first, second], Counter(), {"path": "x", "duration": 40.0}, ())
    words = [word for segment in made.segments for word in segment.words]
    assert [(word.start, word.end) for word in words] == [(18, 18.5), (20.25, 20.75), (None, None)]


def test_the_front_door_sends_long_recordings_here(recording, monkeypatch):
    model = SimpleNamespace(check=print, compressors=None)
    made = Recogniser(model, SimpleNamespace(hz=50.0), None, {})
    monkeypatch.setattr(LongReader, "read", lambda self, path, **_: (path, self.cutting.limit))
    stages = []
    cutting = Cutting(limit=5.0, overlap=1.0)
    (found,) = made.transcribe([recording], cutting=cutting, stage=stages.append)
    assert found == (recording, 5.0)
    monkeypatch.setattr(made, "prepare", lambda path, **_: (_ for _ in ()).throw(MediaError("x")))
    (short,) = made.transcribe([recording], cutting=Cutting(limit=20.0), stage=stages.append)
    assert isinstance(short, AvsrError)
    (part,) = made.transcribe([recording], cutting=Cutting(limit=20.0, end=3.0))
    assert part == (recording, 20.0)
    assert "sound and lips of talk.mkv" in stages


def test_chunks_without_a_voice_are_left_out_where_a_detector_says_so(tmp_path, monkeypatch):
    times = np.arange(16_000 * 14) / 16_000
    path = write_clip(tmp_path / "gap.wav", wave=ramp_of(times)[None].astype(np.float32))
    windows = -(-len(times) // 512)
    activity = np.ones(windows, dtype=np.float32)
    activity[round(4 / 0.032) : round(10 / 0.032)] = 0.0
    monkeypatch.setattr("avsr.long.voice", lambda wave: activity)
    made = read(path, Listener(), find="voice", limit=6.0)
    assert "5 s have no voice in them; nothing was read there" in made.warnings
    heard = {int(word.removeprefix("w")) for word in made.text.split()}
    assert {*range(8), *range(20, 28)} <= heard <= {*range(9), *range(19, 28)}
    monkeypatch.setattr("avsr.long.voice", lambda wave: 0 * activity)  # it cannot hear this voice
    made = read(path, Listener(), find="voice", limit=6.0)
    assert made.text.split()[0] == "w0"
    assert not any("no voice" in told for told in made.warnings)

    def missing(wave):
        raise ImportError("no wheel")

    monkeypatch.setattr("avsr.long.voice", missing)
    made = read(path, Listener(), find="voice", limit=6.0)
    assert "no voice detector (no wheel); cut where the sound is quiet" in made.warnings
