"""A live stream whose chunks came partly without a density weighed the wrong frames, silently.

The densities that did come were laid on the first frames held, whichever those were.
"""

import pytest
import torch

from avsr.compress import Compressor, Guide, Guided, Weighted
from avsr.compress.windows import concat
from avsr.streams import Budget, TokenStream

DENSITY = torch.tensor([[1.0, 0.0, 3.0]])


def chunk(frames: int, start: int = 0) -> TokenStream:
    x = torch.arange(start, start + frames, dtype=torch.float32).reshape(1, -1, 1)
    return TokenStream.from_features(x, torch.tensor([frames]), 50.0, start / 50.0)


@pytest.mark.parametrize(
    "made",
    [Weighted(by="density"), Guided(width=1, other_width=1, guide="density")],
    ids=["weighted", "guided"],
)
@pytest.mark.parametrize(
    ("first", "then", "said"), [(None, DENSITY, "with a density"), (DENSITY, None, "without a")]
)
def test_a_stream_brings_one_for_all_frames_or_for_none(
    made: Compressor, first: torch.Tensor | None, then: torch.Tensor | None, said: str
) -> None:
    streamer = made.stream(Budget.rate(4))
    streamer.step(chunk(3), Guide(density=first))
    with pytest.raises(ValueError, match=f"come {said}"):
        streamer.step(chunk(3, 3), Guide(density=then))
    streamer.reset()
    streamer.step(chunk(3), Guide(density=then))  # another stream may do otherwise


def test_a_chunk_without_frames_need_not_bring_one() -> None:
    streamer = Weighted(by="density").stream(Budget.rate(4))
    empty = chunk(0)
    parts = [
        streamer.step(empty, Guide(density=torch.zeros(1, 0))),
        streamer.step(chunk(3), Guide(density=DENSITY)),
        streamer.step(empty),
        streamer.step(chunk(3, 3), Guide(density=DENSITY)),
        streamer.flush(),
    ]
    told = Guide(density=DENSITY.repeat(1, 2))
    want = Weighted(by="density")(chunk(6), Budget.rate(4), told)
    assert torch.equal(concat(parts).x, want.x)
