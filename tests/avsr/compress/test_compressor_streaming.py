"""What a causal compressor must do with a stream in pieces, and the others must say."""

import pytest
import torch

from avsr.compress import NotCausalError
from avsr.compress.windows import concat
from avsr.errors import ConfigError
from tests.avsr.compress.cases import (
    CAUSAL,
    CONFIGS,
    HZ,
    Case,
    causal,
    frames,
    guide,
    guided_chunks,
    lawful,
    off,
    stream,
)


@causal
def test_c16_streaming_equals_the_whole(case: Case) -> None:
    for by in (1, 7, 24) if case.config in CONFIGS else (7,):
        _equals_the_whole(case, by)


def _equals_the_whole(case: Case, by: int) -> None:
    s = stream()
    streamer = case.compressor.stream(case.budget)
    parts = [streamer.step(*chunk) for chunk in guided_chunks(s, by)]
    parts.append(streamer.flush())
    for part in parts:
        part.validate()
    joined, whole = concat(parts).validate(), case.run(s)
    torch.testing.assert_close(joined.x, whole.x, **off(case))
    for name in ("mask", "size"):
        assert torch.equal(getattr(joined, name), getattr(whole, name)), name
    torch.testing.assert_close(joined.t0, whole.t0)
    torch.testing.assert_close(joined.t1, whole.t1)
    for own, all_of_it in zip(joined.owner, whole.owner, strict=True):
        assert own[own >= 0].tolist() == all_of_it[all_of_it >= 0].tolist()


@causal
def test_c16_a_streamer_can_be_used_again(case: Case) -> None:
    s = stream()
    streamer = case.compressor.stream(case.budget)
    with pytest.raises(ValueError, match="flush"):
        streamer.flush()
    streamer.step(s, guide(s))
    streamer.reset()
    streamer.step(*guided_chunks(s, 7)[0])
    streamer.reset(torch.tensor([0, 4]))
    left = streamer.flush()
    assert left.lengths[[0, 4]].tolist() == [0, 0]
    again = [streamer.step(s, guide(s)), streamer.flush()]
    torch.testing.assert_close(concat(again).x, case.run(s).x, **off(case))


@lawful
def test_c16_others_say_that_they_cannot(case: Case) -> None:
    if case not in CAUSAL:
        with pytest.raises((NotCausalError, ConfigError)):
            case.compressor.stream(case.budget)


@causal
def test_c17_causality(case: Case) -> None:
    for moment in (9, 16, 20):
        _does_not_know(case, moment)


def _does_not_know(case: Case, moment: int) -> None:
    s = stream()
    later = s.x.clone()
    later[:, moment:] += 1
    a, b = (case.run(v) for v in (s, s.replace(x=later)))
    ahead = _ahead(case)
    past = a.mask & (a.t1 <= (moment - ahead) / HZ + 1e-6)
    assert past.any()
    b = b.pad_to(max(a.mask.shape[1], b.mask.shape[1]))
    torch.testing.assert_close(a.x[past], b.x[:, : a.mask.shape[1]][past], **off(case))


def _ahead(case: Case) -> int:
    """Frames that a token may wait for: a window, the first frame unlike it, the next key frame."""
    if case.card.signal == "uniform":
        return 0
    return round(HZ * case.config.get("most", 0.16)) - 1 if case.card.name == "keyframe" else 3


@causal
def test_c19_streams_do_not_mix(case: Case) -> None:
    one, two = stream(), stream(frames(seed=5))
    compressor = case.compressor
    a, b = compressor.stream(case.budget), compressor.stream(case.budget)
    pieces = zip(guided_chunks(one, 7), guided_chunks(two, 7), strict=True)
    parts = [(a.step(*x), b.step(*y)) for x, y in pieces]
    parts.append((a.flush(), b.flush()))
    for s, own in zip((one, two), zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(concat(own).x, case.run(s).x, **off(case))
