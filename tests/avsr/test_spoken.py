"""A density tells single frames apart though its head reads several at a time."""

import pytest
import torch

from avsr.spoken import spread
from avsr.streams import TokenStream


def loudness(s: TokenStream) -> torch.Tensor:
    return s.x[..., 0]


@pytest.mark.parametrize("rate", [1, 2, 4, 5])
def test_a_token_speaks_for_its_middle_frame(rate: int) -> None:
    x = torch.zeros(1, 20, 1)
    x[0, 10] = 1.0
    told = spread(TokenStream.from_rows([x[0]], 50.0), rate, loudness)[0]
    heard = told.nonzero().flatten().tolist()
    middle = rate // 2
    assert heard == list(range(10 - (rate - 1) + middle, 11 + middle))
    assert told[heard].tolist() == pytest.approx([1 / rate] * rate)


def test_rows_are_told_alone_as_together_and_short_ones_too() -> None:
    rows = [torch.rand(n, 1, generator=torch.Generator().manual_seed(n)) for n in (17, 3, 1, 0)]
    together = spread(TokenStream.from_rows(rows, 50.0), 4, loudness)
    for row, (x, told) in enumerate(zip(rows, together, strict=True)):
        alone = spread(TokenStream.from_rows([x], 50.0), 4, loudness)[0]
        assert torch.equal(alone, told[: len(x)]), row
        assert not told[len(x) :].any()
    assert torch.equal(together[1, :2], rows[1].mean().expand(2))
