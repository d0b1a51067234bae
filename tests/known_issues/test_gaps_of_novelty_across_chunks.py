"""`novelty` counted the frames dropped in a row anew in each chunk.

So two chunks that met in a gap left twice as many frames out as `max_gap` allows.
"""

import torch

from avsr.compress import Novelty
from avsr.compress.windows import concat, cut
from avsr.streams import Budget, TokenStream

RATE, GAP = Budget.rate(8), 3


def stream() -> TokenStream:
    x = torch.randn(3, 90, 4, generator=torch.Generator().manual_seed(0))
    return TokenStream.from_features(x, torch.tensor([90, 61, 8]), 50.0)


def longest_gap(owner: torch.Tensor) -> int:
    longest = run = 0
    for token in owner.tolist():
        run = run + 1 if token < 0 else 0
        longest = max(longest, run)
    return longest


def test_no_gap_is_longer_than_asked_anywhere() -> None:
    s = stream()
    out = Novelty(chunk=8, mode="drop", max_gap=GAP)(s, RATE).validate()
    for owner, length in zip(out.owner, s.lengths.tolist(), strict=True):
        assert longest_gap(owner[:length]) == GAP


def test_a_live_stream_keeps_the_same_frames() -> None:
    s, made = stream(), Novelty(chunk=8, mode="drop", max_gap=GAP)
    streamer, parts = made.stream(RATE), []
    for start in range(0, 90, 7):
        at = torch.full((3,), start)
        parts.append(streamer.step(cut(s, at.minimum(s.lengths), (at + 7).minimum(s.lengths))))
    joined, whole = concat([*parts, streamer.flush()]), made(s, RATE)
    assert torch.equal(joined.x, whole.x)
    assert torch.equal(joined.t0, whole.t0)


def test_a_row_that_begins_anew_has_no_gap_behind_it() -> None:
    s, made = stream(), Novelty(chunk=8, mode="drop", max_gap=GAP)
    streamer = made.stream(RATE)
    first = cut(s, torch.zeros(3).long(), torch.tensor([8, 8, 8]))
    streamer.step(first)
    streamer.reset(torch.tensor([1]))
    again = streamer.step(first)
    assert torch.equal(again.x[1, : again.lengths[1]], made(first, RATE).select([1]).x[0])
