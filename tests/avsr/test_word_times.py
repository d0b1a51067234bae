"""Words are laid over the frames that say them, and nowhere is a time made up."""

import math
from itertools import groupby, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avsr.decode import DecodeOptions
from avsr.errors import ConfigError, ModelError, SetupError
from avsr.word_times import LEAD, WordAligner, spans

HZ = 50.0
RATES = {"audio": 50.0, "video": 25.0}


def planted(labels, classes=5):
    """Log-probabilities that say one label a frame."""
    scores = torch.full((len(labels), classes), math.log(0.01))
    scores[range(len(labels)), labels] = math.log(0.96)
    return scores


def test_words_lie_where_their_frames_are():
    labels = [0] * 10 + [1] * 3 + [0] * 7 + [2, 2, 0, 3, 3] + [0] * 5
    first, second = spans(planted(labels), [[1], [2, 3]], HZ)
    assert first == pytest.approx((0.2 - LEAD, 0.26))
    assert second == pytest.approx((0.4 - LEAD, 0.5))


def test_a_word_does_not_begin_before_the_last_one_ended():
    first, second = spans(planted([0] * 5 + [1, 1, 2, 2, 0]), [[1], [2]], HZ)
    assert first[1] == second[0] == pytest.approx(0.14)


def test_the_first_word_does_not_begin_before_the_clip():
    assert spans(planted([1, 1, 0, 2]), [[1], [2]], HZ)[0][0] == 0.0


def test_a_word_said_twice_needs_a_blank_between():
    twice = spans(planted([0, 1, 1, 0, 0, 1, 0]), [[1], [1]], HZ)
    assert [end for _, end in twice] == pytest.approx([3 / HZ, 6 / HZ])


@pytest.mark.parametrize("seed", range(6))
def test_the_path_is_the_best_of_all_paths(seed):
    classes, frames, words = 4, 6, [[1], [2, 2]]
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(frames, classes, generator=generator).log_softmax(-1)
    best, found = -math.inf, None
    for path in product(range(classes), repeat=frames):
        runs, at = [], 0
        for label, group in groupby(path):
            length = len(list(group))
            runs += [(label, at, at + length)] if label else []
            at += length
        total = sum(scores[t, label].item() for t, label in enumerate(path))
        if [label for label, _, _ in runs] == [1, 2, 2] and total > best:
            best, found = total, runs
    ends = [found[0][2] / HZ, found[2][2] / HZ]
    assert [end for _, end in spans(scores, words, HZ)] == pytest.approx(ends)


def test_words_that_do_not_fit_have_no_times():
    assert spans(planted([1, 2]), [[1], [2], [3]], HZ) is None
    assert spans(planted([1, 1]), [[1], [1]], HZ) is None  # no room for the blank between
    assert spans(planted([1, 2]), [], HZ) == []


class Alignment:
    """A CTC that knows the words one and two; single frames tell their own class."""

    vocabulary = (11, 12)

    def log_probs(self, x):
        return planted(x[0, :, 0].round().long().tolist(), classes=3)[None]


def model(hop=1):
    """Reads single frames of width 1; "six" is a word that the CTC does not know."""
    ids = {" one": [11], " two": [12], " six": [99]}
    return SimpleNamespace(
        rates={"audio": (hop,), "video": (hop,)},
        compressor_of=lambda kind: SimpleNamespace(width=lambda width, budget: width),
        project=lambda stream, kind, rate: stream,
        tokenizer=SimpleNamespace(encode=ids.__getitem__),
    )


def clip(sound=None, lips=None, wave=None):
    def features(labels):
        return None if labels is None else torch.tensor(labels, dtype=torch.float32)[:, None]

    return SimpleNamespace(audio=features(sound), video=features(lips), wave=wave, seconds=2.0)


def test_lips_alone_have_times_of_their_own_rate():
    times = WordAligner(model(), Alignment(), RATES).times(
        clip(lips=[0] * 10 + [1, 1] + [0] * 8 + [2, 2, 0]), "v", ["one", "two"]
    )
    assert times == [pytest.approx((0.4 - LEAD, 0.48)), pytest.approx((0.8 - LEAD, 0.88))]


def test_times_are_those_of_the_towers_own_rate(monkeypatch):
    """AV-HuBERT hears at 25 frames a second, Whisper at 50."""
    monkeypatch.setattr("avsr.word_times.voice", lambda wave: np.ones(60))
    slow = WordAligner(model(), Alignment(), {"audio": 25.0, "video": 25.0})
    labels = [0] * 10 + [1] * 2 + [0] * 20
    (time,) = slow.times(clip(labels, wave=np.ones(2)), "a", ["one"])
    assert time == pytest.approx((0.4 - LEAD, 0.48))


def test_the_unknown_word_has_no_times_and_its_neighbours_have():
    labels = [0, 0, 1, 0, 0, 2, 2, 0, 0, 0, 2, 0]
    times = WordAligner(model(), Alignment(), RATES).times(
        clip(lips=labels), "v", ["one", "six", "two"]
    )
    assert times[1] is None
    assert times[0] is not None
    assert times[2] == pytest.approx((10 / 25 - LEAD, 11 / 25))


def test_sound_is_not_listened_to_beyond_the_voice(monkeypatch):
    """A CTC tends to give the last word to the last frames, whatever is heard there."""
    monkeypatch.setattr("avsr.word_times.voice", lambda wave: np.repeat([1.0, 0.0], [20, 40]))
    labels = [0] * 10 + [1] * 3 + [0] * 80 + [1] * 7  # voice ends at 0.64 s, frame 32
    (time,) = WordAligner(model(), Alignment(), RATES).times(
        clip(labels, wave=np.ones(2)), "a", ["one"]
    )
    assert time == pytest.approx((0.2 - LEAD, 0.26))


def test_without_the_voice_detector_loudness_tells(monkeypatch):
    def absent(wave):
        raise ImportError("no wheel")

    monkeypatch.setattr("avsr.word_times.voice", absent)
    monkeypatch.setattr("avsr.word_times.energy", lambda wave: np.repeat([1.0, 0.0], [20, 40]))
    labels = [0] * 10 + [1] * 3 + [0] * 80 + [1] * 7
    (time,) = WordAligner(model(), Alignment(), RATES).times(
        clip(labels, wave=np.ones(2)), "a", ["one"]
    )
    assert time == pytest.approx((0.2 - LEAD, 0.26))


def test_sound_tells_where_both_were_read(monkeypatch):
    monkeypatch.setattr("avsr.word_times.voice", lambda wave: np.ones(60))
    sound, lips = [0] * 20 + [1] * 4 + [0] * 40, [0] * 2 + [1] * 2 + [0] * 28
    both = clip(sound, lips, wave=np.ones(2))
    (time,) = WordAligner(model(), Alignment(), RATES).times(both, "av", ["one"])
    assert time == pytest.approx((0.4 - LEAD, 0.48))


def test_a_model_that_cannot_tell_is_refused():
    with pytest.raises(ModelError, match="no CTC"):
        WordAligner(model(), None, RATES)
    stacking = model()
    stacking.compressor_of = lambda kind: SimpleNamespace(width=lambda width, budget: 4 * width)
    with pytest.raises(ModelError, match="stacked"):
        WordAligner(stacking, Alignment(), RATES)


def test_without_torchaudio_it_is_said_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchaudio.functional", None)
    with pytest.raises(SetupError, match="torchaudio"):
        WordAligner(model(), Alignment(), RATES)


def test_no_other_way_of_telling_times():
    with pytest.raises(ConfigError, match="guess"):
        DecodeOptions(word_times="guess")
