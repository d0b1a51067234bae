"""A plan that left a number out gave a token of no frame, unmasked, full of zeros."""

import pytest
import torch

from avsr.compress.apply import apply
from avsr.streams import TokenStream


def stream(*lengths: int) -> TokenStream:
    return TokenStream.from_features(torch.ones(len(lengths), 6, 2), torch.tensor(lengths), 50.0)


def test_a_hole_is_refused() -> None:
    good, holed = [0, 0, 1, 1, -1, 2], [0, 0, 2, 2, -1, 3]
    with pytest.raises(ValueError, match="row 1 of the plan names a token after 1, but no frame"):
        apply(stream(6, 6), torch.tensor([good, holed]))
    with pytest.raises(ValueError, match="but no frame for 0"):
        apply(stream(6), torch.tensor([[-1, 1, 1, 1, 2, 2]]))


def test_padding_empty_rows_and_nothing_at_all_are_no_holes() -> None:
    plan = torch.tensor([[0, 0, 1, 9, 9, 9], [5, 5, 5, 5, 5, 5], [-1, -1, -1, -1, -1, -1]])
    assert apply(stream(3, 0, 6), plan).validate().lengths.tolist() == [2, 0, 0]
    assert apply(stream(6).select(torch.zeros(0).long()), torch.zeros(0, 6).long()).x.shape[0] == 0
