"""Where something is said: for each frame of a stream, how sure the CTC of the projectors is that
it is no blank.

Data: tower features [B, T, D] -> density [B, T] in [0, 1], as `Guide.density` takes it.

The CTC reads tokens of several frames. To tell single frames apart the stream is pooled as often
as a token has frames, each time begun one frame later, and a token speaks for its middle frame.
CTC density as a weight: FastLongSpeech (NeurIPS 2025); intermediate CTC for key frames: Fan et
al. 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from avsr.compress import Pool
from avsr.compress.windows import cut
from avsr.ctc import EmbeddingCtc
from avsr.model import AvsrModel
from avsr.streams import Budget, TokenStream

__all__ = ["listener", "spread"]


@torch.no_grad()
def spread(s: TokenStream, rate: int, read: Callable[[TokenStream], Tensor]) -> Tensor:
    """What a head that reads tokens of `rate` frames says of single frames.

    Args:
        s: stream of single frames [B, T, D].
        rate: frames a token of the head.
        read: pooled stream [B, N, D] -> anything of each token [B, N, ...].

    Returns:
        [B, T, ...], zero at padding; the first frames, which are the middle of no token, take the
        first token's.
    """
    frames = s.mask.shape[1]
    middle = rate // 2
    out: Tensor | None = None
    for phase in range(min(rate, max(1, frames))):
        start = torch.full_like(s.lengths, phase).minimum(s.lengths)
        tokens = read(Pool()(cut(s, start, s.lengths), Budget.rate(rate))).float()
        if out is None:
            out = tokens.new_zeros(len(tokens), frames, *tokens.shape[2:])
            if tokens.shape[1]:
                out[:, :middle] = tokens[:, :1]
        place = phase + middle + rate * torch.arange(tokens.shape[1], device=s.device)
        inside = place < frames
        out[:, place[inside]] = tokens[:, inside]
    assert out is not None
    out[~s.mask] = 0.0
    return out


def listener(model: AvsrModel, alignment: EmbeddingCtc) -> Callable[[TokenStream, str], Tensor]:
    """What tells the density of a stream's frames, by the projector of its finest rate.

    Args:
        model: whose projectors the CTC was trained with.
        alignment: the CTC.

    Returns:
        A function of a stream [B, T, D] and its kind, "audio" or "video".
    """

    def said(kind: str, rate: int, s: TokenStream) -> Tensor:
        scores = alignment.log_probs(model.project(s, kind, rate).x)
        return 1.0 - scores[..., 0].exp()

    def of(s: TokenStream, kind: str) -> Tensor:
        rate = min(model.rates[kind])
        if s.mask.shape[1] == 0:
            return torch.zeros(s.mask.shape, device=s.device)
        return spread(s, rate, partial(said, kind, rate))

    return of
