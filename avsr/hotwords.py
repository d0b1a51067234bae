"""Words that are expected: their embeddings guide a compressor that was trained to look for them.

Data: phrases, or the transcripts of a batch -> embeddings [N, H] -> `Guide.phrases`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from avsr.errors import ModelError
from avsr.model import AvsrModel

__all__ = ["asks", "drawn", "embedded", "expect"]


def asks(model: AvsrModel) -> bool:
    """Whether a compressor of the model looks at phrases."""
    return any("phrases" in model.compressor_of(kind).reads for kind in ("audio", "video"))


@torch.no_grad()
def embedded(model: AvsrModel, phrases: Sequence[str]) -> Tensor:
    """Mean of the language model's embeddings of each phrase's tokens [N, H]."""
    ids = [torch.tensor(model.tokenizer.encode(f" {phrase}")) for phrase in phrases]
    return torch.stack([model.embed(each).float().mean(0) for each in ids])


def expect(model: AvsrModel, phrases: Sequence[str]) -> None:
    """Tell a model which words to expect, until others are told; none, and it expects none.

    Args:
        model: with a compressor that is guided by phrases.
        phrases: words or names, in the spelling of the transcripts.

    Raises:
        ModelError: no compressor of the model looks at them.
    """
    wanted = [phrase.strip() for phrase in phrases if phrase.strip()]
    if wanted and not asks(model):
        raise ModelError(
            "the model was not trained to look for expected words",
            todo="Train one with compress: {name: guided, guide: phrases}, or give none.",
        )
    model.phrases = embedded(model, wanted) if wanted else None


def drawn(model: AvsrModel, texts: Sequence[Tensor], count: int, seed: Sequence[int]) -> Tensor:
    """Embeddings of words of a batch: of each clip some are said in it, the others are not.

    Args:
        model: whose words they are.
        texts: transcript tokens [S] of each clip.
        count: words, fewer if the batch has no more.
        seed: of the draw.

    Returns:
        [N, H].
    """
    said = sorted({w for t in texts for w in model.tokenizer.decode(t.tolist()).split()})
    picks = np.random.default_rng(list(seed)).permutation(len(said))[:count]
    return embedded(model, [said[pick] for pick in sorted(picks.tolist())])
