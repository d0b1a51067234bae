"""Alignment of a projector with the LLM's own vocabulary, by CTC and without any LLM forward.

Data: projected tokens [B, N, H] + transcript tokens -> CTC loss. Each frame's scaled cosine to the
frozen input embeddings of the tokens that occur, and to a learned blank, are its logits; a
projector trained so puts its frames where the LLM's words lie. (Own method; CTC: Graves et al.
2006.)
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avsr.streams import TokenStream


def ctc_loss(logp: Tensor, lengths: Tensor, targets: Sequence[Sequence[int]]) -> Tensor:
    """CTC loss with blank 0, mean over rows and their targets.

    Args:
        logp: log-probabilities [B, N, classes].
        lengths: real frames of each row [B].
        targets: classes of each row; one that does not fit into its frames contributes zero.
    """
    sizes = torch.tensor([len(t) for t in targets])
    flat = torch.tensor([i for t in targets for i in t], dtype=torch.long)
    return F.ctc_loss(logp.transpose(0, 1), flat, lengths, sizes, zero_infinity=True)


def collapse(path: Sequence[int]) -> list[int]:
    """A path of classes without repeats and blanks (0)."""
    return [i for i, before in zip(path, [0, *path], strict=False) if i not in (0, before)]


class EmbeddingCtc(nn.Module):
    """CTC head whose classes are the LLM's input embeddings.

    Args:
        embeddings: the LLM's table [V, H], frozen.
        vocabulary: sorted ids of the tokens that can occur.
    """

    def __init__(self, embeddings: Tensor, vocabulary: Sequence[int]) -> None:
        super().__init__()
        self.vocabulary = list(vocabulary)
        self._class_of = {token: i + 1 for i, token in enumerate(self.vocabulary)}
        rows = embeddings.detach()[torch.tensor(self.vocabulary)].float()
        self.register_buffer("classes", F.normalize(rows, dim=-1), persistent=False)
        generator = torch.Generator().manual_seed(0)
        self.blank = nn.Parameter(torch.randn(rows.shape[1], generator=generator))
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    @classmethod
    def load(cls, path: Path, embeddings: Tensor) -> "EmbeddingCtc":
        """Read what `save` wrote.

        Args:
            path: the file.
            embeddings: the same LLM's table.
        """
        state = load_file(path)
        ctc = cls(embeddings, state.pop("vocabulary").tolist())
        ctc.load_state_dict(state)
        return ctc

    def save(self, path: Path) -> None:
        """Write the trained part and the vocabulary."""
        vocabulary = torch.tensor(self.vocabulary, dtype=torch.int32)
        save_file({**self.state_dict(), "vocabulary": vocabulary}, path)

    def log_probs(self, x: Tensor) -> Tensor:
        """Projected tokens [B, N, H] -> log-probabilities [B, N, 1 + classes], blank first."""
        table = torch.cat([F.normalize(self.blank, dim=-1)[None], self.classes])  # type: ignore[list-item]
        return (F.normalize(x.float(), dim=-1) @ table.T * self.log_scale.exp()).log_softmax(-1)

    def forward(self, stream: TokenStream, texts: Sequence[Tensor]) -> Tensor:
        """CTC loss of a projected stream, mean over rows and their tokens.

        Rows whose transcript does not fit into their tokens contribute zero.

        Args:
            stream: projected tokens [B, N, H].
            texts: transcript token ids of each row.
        """
        targets = [
            [self._class_of[i] for i in text.tolist() if i in self._class_of] for text in texts
        ]
        # A NaN at padding would reach the gradients.
        x = stream.x.masked_fill(~stream.mask[..., None], 0.0)
        return ctc_loss(self.log_probs(x), stream.lengths.cpu(), targets)

    @torch.no_grad()
    def greedy(self, stream: TokenStream) -> list[list[int]]:
        """Best path of each row as LLM token ids, repeats and blanks removed."""
        best = self.log_probs(stream.x).argmax(-1)
        out = []
        for row, length in zip(best.tolist(), stream.lengths.tolist(), strict=True):
            out.append([self.vocabulary[i - 1] for i in collapse(row[: int(length)])])
        return out
