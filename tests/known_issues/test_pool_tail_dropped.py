"""`nn.AvgPool1d(rate)` floors: it loses up to rate - 1 final frames, and raises on a shorter clip.

Seen in Omni-AVSR's average pooling: at rate 16 up to 0.3 s of sound, the last word's end.
"""

import pytest
import torch
from torch import nn

from avsr.compress import Pool, Stack
from avsr.streams import Budget, TokenStream


def _ramp(frames: int) -> TokenStream:
    x = torch.arange(float(frames)).reshape(1, frames, 1)
    return TokenStream.from_features(x, torch.tensor([frames]), 50.0)


@pytest.mark.parametrize("frames", [1, 15, 16, 17, 31, 47])
@pytest.mark.parametrize("compressor", [Pool(), Stack(), Stack(tail="zero")])
def test_the_last_frame_is_in_the_last_token(frames: int, compressor: Pool | Stack) -> None:
    s = _ramp(frames)
    out = compressor(s, Budget.rate(16))
    assert out.lengths.tolist() == [-(-frames // 16)]
    assert out.owner[0, -1] == out.lengths[0] - 1
    assert out.t1[0, -1] == s.t1[0, -1]


def test_the_last_frame_is_in_its_mean() -> None:
    out = Pool()(_ramp(17), Budget.rate(16))
    assert out.x.flatten().tolist() == [7.5, 16.0]
    assert nn.AvgPool1d(16)(_ramp(17).x.transpose(1, 2)).flatten().tolist() == [7.5]  # the fault


def test_a_clip_shorter_than_the_rate_is_read() -> None:
    assert Pool()(_ramp(3), Budget.rate(16)).x.flatten().tolist() == [1.0]


def test_the_loss_has_to_be_asked_for() -> None:
    assert Pool().tail == "keep"
    dropped = Pool(tail="drop")(_ramp(17), Budget.rate(16))
    assert dropped.x.flatten().tolist() == [7.5]
    assert dropped.owner[0, 16] == -1
