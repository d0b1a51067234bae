"""`select` multiplied every pair of frames out, [T, T, D]: 9 GB for thirty seconds of sound."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from avsr.compress import Select
from avsr.streams import Budget, TokenStream

FRAMES, WIDTH = 60, 500


class Largest(TorchFunctionMode):
    """Numbers in the largest tensor made meanwhile."""

    most = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.most = max(self.most, out.numel())
        return out


@pytest.mark.parametrize("by", ["diversity", "pivot"])
def test_no_tensor_is_larger_than_frames_or_their_pairs(by: str) -> None:
    x = torch.randn(2, FRAMES, WIDTH, generator=torch.Generator().manual_seed(0))
    s = TokenStream.from_features(x, torch.tensor([FRAMES, 40]), 50.0)
    with Largest() as seen:
        Select(by=by)(s, Budget.rate(2))  # type: ignore[arg-type]
    assert seen.most <= x.numel()


@pytest.mark.parametrize("by", ["diversity", "pivot"])
def test_equal_frames_are_equal_to_the_kernel_too(by: str) -> None:
    own = torch.randn(1, 1, WIDTH, generator=torch.Generator().manual_seed(1))
    s = TokenStream.from_features(own.expand(1, 37, WIDTH), torch.tensor([37]), 50.0)
    owner = Select(by=by)(s, Budget.tokens(5)).owner[0]  # type: ignore[arg-type]
    kept = (owner >= 0).nonzero().flatten().tolist()
    assert kept == ([0, 1, 2, 3, 4] if by == "diversity" else [0, 8, 16, 24, 32])
