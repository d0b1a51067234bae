"""`cif` gave tokens of zeros, or none at all on a live stream, where frames weigh next to nothing.

A threshold of infinity made the one token zeros. With a bias of -12 a whole row gave one token and
the stream none. Frames below a millionth counted as the first token's, wherever they stood.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from avsr.compress import Cif
from avsr.compress.windows import concat
from avsr.streams import Budget, TokenStream


def weighing(alpha: Tensor) -> tuple[Cif, TokenStream]:
    """A method and a row of frames of these weights [T], numbered in their second feature."""
    made = Cif(width=2)
    nn.init.zeros_(made.weigh.bias)
    made.weigh.weight.data = torch.tensor([[1.0, 0.0]])
    x = torch.stack([alpha.double().logit().float(), torch.arange(1.0, 1 + len(alpha))], 1)
    return made, TokenStream.from_features(x[None], torch.tensor([len(alpha)]), 50.0)


def streamed(made: Cif, s: TokenStream, fire: float, by: int) -> TokenStream:
    streamer, parts = made.stream(Budget.threshold(fire)), []
    for start in range(0, s.mask.shape[1], by):
        x = s.x[:, start : start + by]
        length = torch.tensor([x.shape[1]])
        parts.append(streamer.step(TokenStream.from_features(x, length, 50.0, start / 50.0)))
    return concat([*parts, streamer.flush()]).validate()


@pytest.mark.parametrize("fire", [1.0, 1e6, 1e35, float("inf")])
@pytest.mark.parametrize("bias", [0.0, -12.0, -60.0, -200.0])
def test_a_row_has_a_token_and_it_is_the_mean(fire: float, bias: float) -> None:
    made = Cif(width=1)
    nn.init.constant_(made.weigh.bias, bias)
    x = torch.tensor([[[3.0], [5.0]]])
    s = TokenStream.from_features(x, torch.tensor([2]), 50.0)
    for out in (made(s, Budget.threshold(fire)), streamed(made, s, fire, 1)):
        assert out.size.tolist() == [[2]]
        assert out.x.item() == pytest.approx(4.0)
    assert made(s, Budget.tokens(1)).x.item() == pytest.approx(4.0)
    assert made(s, Budget.tokens(2)).x.flatten().tolist() == pytest.approx([3.0, 5.0])


def test_light_frames_belong_to_the_token_in_which_they_stand() -> None:
    made, s = weighing(torch.tensor([0.6, 0.6, 1e-8, 1e-8, 0.6, 0.9]))
    for budget in (Budget.threshold(1.0), Budget.tokens(3)):
        assert made(s, budget).validate().owner[0].tolist() == [0, 0, 1, 1, 1, 2]


def test_a_light_rest_is_a_token_of_a_stream_and_of_the_whole() -> None:
    made, s = weighing(torch.tensor([0.5, 0.500001, 1e-6, 1e-6]))
    whole = made(s, Budget.threshold(1.0))
    assert whole.size.tolist() == [[2, 2]]
    assert whole.x[0, :, 1].tolist() == pytest.approx([1.5, 3.5], rel=0.2)
    for by in (1, 2, 3, 4):
        assert streamed(made, s, 1.0, by).size.tolist() == [[2, 2]]


@given(
    st.lists(st.sampled_from([1e-30, 1e-9, 3e-7, 1e-4, 0.1, 0.3, 0.5, 0.97]), min_size=1),
    st.sampled_from([1.0, 1.5, 4.0]),
    st.integers(1, 5),
)
@settings(max_examples=150, deadline=None, database=None, derandomize=True)
def test_a_stream_in_pieces_is_the_whole(alpha: list[float], fire: float, by: int) -> None:
    made, s = weighing(torch.tensor(alpha, dtype=torch.float64))
    whole, pieces = made(s, Budget.threshold(fire)).validate(), streamed(made, s, fire, by)
    assert pieces.size.tolist() == whole.size.tolist()
    torch.testing.assert_close(pieces.x[..., 1], whole.x[..., 1], rtol=1e-3, atol=1e-3)
