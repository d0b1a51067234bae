"""What a causal compressor must do with a stream in pieces, and the others must say."""

import pytest
import torch

from avsr.compress import NotCausalError
from avsr.compress.windows import concat
from avsr.errors import ConfigError
from avsr.streams import TokenStream
from tests.avsr.compress.cases import CAUSAL, CONFIGS, HZ, Case, causal, frames, lawful, off, stream


def chunks(s: TokenStream, by: int) -> list[TokenStream]:
    """The stream in pieces; rows end at their own places."""
    cuts = range(0, s.x.shape[1], by)
    return [
        TokenStream.from_features(
            s.x[:, i : i + by], (s.lengths - i).clamp(0, s.x[:, i : i + by].shape[1]), HZ, i / HZ
        )
        for i in cuts
    ]


@causal
def test_c16_streaming_equals_the_whole(case: Case) -> None:
    for by in (1, 7, 24) if case.config in CONFIGS else (7,):
        _equals_the_whole(case, by)


def _equals_the_whole(case: Case, by: int) -> None:
    s = stream()
    streamer = case.compressor.stream(case.budget)
    parts = [streamer.step(chunk) for chunk in chunks(s, by)]
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
    streamer.step(s)
    streamer.reset()
    streamer.step(chunks(s, 7)[0])
    streamer.reset(torch.tensor([0, 4]))
    left = streamer.flush()
    assert left.lengths[[0, 4]].tolist() == [0, 0]
    again = [streamer.step(s), streamer.flush()]
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
    ahead = 0 if case.card.signal == "uniform" else 3  # a window, or the first frame unlike it
    past = a.mask & (a.t1 <= (moment - ahead) / HZ + 1e-6)
    assert past.any()
    b = b.pad_to(max(a.mask.shape[1], b.mask.shape[1]))
    torch.testing.assert_close(a.x[past], b.x[:, : a.mask.shape[1]][past], **off(case))


@causal
def test_c19_streams_do_not_mix(case: Case) -> None:
    one, two = stream(), stream(frames(seed=5))
    compressor = case.compressor
    a, b = compressor.stream(case.budget), compressor.stream(case.budget)
    parts = [(a.step(x), b.step(y)) for x, y in zip(chunks(one, 7), chunks(two, 7), strict=True)]
    parts.append((a.flush(), b.flush()))
    for s, own in zip((one, two), zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(concat(own).x, compressor(s, case.budget).x, **off(case))
