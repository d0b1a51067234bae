"""Squares of very small and very large features left float32, and means came out wrong.

`weighted` made 3.4e-22 of a constant 1e-20 and no number of 1e20; `cluster` weighted by energy
lost the constant too, and merged nothing of frames that are large.
"""

import pytest
import torch

from avsr.compress import Cluster, Compressor, DensityPeak, Guide, KMeans, Weighted
from avsr.streams import Budget, TokenStream

METHODS = [Weighted(), Cluster(), Cluster(weights="energy"), KMeans(), DensityPeak()]


def stream(x: torch.Tensor) -> TokenStream:
    return TokenStream.from_features(x, torch.tensor([len(x[0])]), 50.0)


@pytest.mark.parametrize("made", METHODS, ids=lambda made: made.card.name)
@pytest.mark.parametrize("value", [1e-38, 1e-20, 1e-10, 1e20, 1e37])
def test_a_constant_comes_back_as_itself(made: Compressor, value: float) -> None:
    out = made(stream(torch.full((1, 24, 5), value)), Budget.rate(4))
    assert out.lengths.tolist() == [6]
    torch.testing.assert_close(out.x / value, torch.ones(1, 6, 5))


@pytest.mark.parametrize("made", METHODS, ids=lambda made: made.card.name)
def test_scale_decides_nothing(made: Compressor) -> None:
    x = torch.randn(1, 24, 5, generator=torch.Generator().manual_seed(0))
    plain = made(stream(x), Budget.rate(4))
    for power in (-80, -66, 66, 110):
        scaled = made(stream(x * 2.0**power), Budget.rate(4))
        assert torch.equal(scaled.owner, plain.owner)
        torch.testing.assert_close(scaled.x / 2.0**power, plain.x)


def test_a_density_next_to_nothing_weighs_evenly() -> None:
    s, density = stream(torch.tensor([[[1.0], [3.0]]])), torch.tensor([[1e-41, 0.0]])
    made = Weighted(by="density")
    assert made(s, Budget.rate(2), Guide(density=density)).x.item() == 2.0


def test_a_quiet_window_is_weighed_by_its_own_energy() -> None:
    quiet = torch.tensor([[[1.0], [3.0], [1e-22], [3e-22]]])
    out = Weighted()(stream(quiet), Budget.rate(2)).x.flatten()
    torch.testing.assert_close(out, torch.tensor([2.8, 2.8e-22]), rtol=1e-5, atol=0.0)
