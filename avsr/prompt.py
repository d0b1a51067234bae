"""The sequence that the LLM reads: markers, stream tokens, instruction, transcript.

Data: projected streams + text ->
`BOS <audio> A </audio> <video> V </video> prompt [transcript EOS]` (arXiv 2510.04136; order and
markers as in the authors' earlier systems). A task without one modality leaves its block out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

MARKERS = ("<audio>", "</audio>", "<video>", "</video>")
IGNORE = -100  # label of positions that are not supervised


@dataclass(frozen=True)
class Sequences:
    """Padded LLM input. N is the longest sequence.

    Args:
        embeds: [B, N, H] in the LLM's dtype, zeros at padding.
        mask: [B, N] bool, true at real positions.
        labels: [B, N] token to be predicted *at* each position (already shifted), IGNORE elsewhere.
    """

    embeds: Tensor
    mask: Tensor
    labels: Tensor


class Prompter(nn.Module):
    """Holds the trained marker embeddings and lays out sequences.

    Args:
        width: LLM width H.
        scale: deviation of the LLM's input embeddings; markers start as noise of that size.
        generator: source of the initial markers.
    """

    def __init__(self, width: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.markers = nn.Parameter(torch.empty(len(MARKERS), width))
        if not self.markers.is_meta:
            nn.init.normal_(self.markers, std=scale, generator=generator)

    def block(self, tokens: Tensor, kind: int) -> list[Tensor]:
        """One modality's tokens [N, H] between its markers; `kind` 0 is audio, 1 video."""
        first, last = self.markers[2 * kind, None], self.markers[2 * kind + 1, None]
        return [first, tokens, last]

    def layout(
        self,
        audio: Tensor | None,
        video: Tensor | None,
        before: Tensor,
        prompt: Tensor,
        text: Tensor | None = None,
    ) -> Tensor:
        """One sequence [N, H].

        Args:
            audio: audio tokens [Na, H], None for a video-only task.
            video: video tokens [Nv, H], None for an audio-only task.
            before: embedding of BOS [1, H], or [0, H] for an LLM without one.
            prompt: embedded instruction [Np, H].
            text: embedded transcript without EOS [S, H], None to generate.
        """
        parts = [before]
        if audio is not None:
            parts += self.block(audio, 0)
        if video is not None:
            parts += self.block(video, 1)
        parts.append(prompt)
        if text is not None:
            parts.append(text)
        dtype = before.dtype
        return torch.cat([part.to(dtype) for part in parts])


def pad_right(rows: Sequence[Tensor], targets: Sequence[Tensor]) -> Sequences:
    """Batch for training: the last `len(target)` positions of each row predict its target.

    Args:
        rows: sequences [N_b, H]; the last supervised position is the row's last.
        targets: transcript and EOS [S_b], one longer than the embedded transcript.
    """
    embeds = pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(r) for r in rows], device=embeds.device)
    mask = torch.arange(embeds.shape[1], device=embeds.device) < lengths[:, None]
    labels = torch.full(mask.shape, IGNORE, device=embeds.device)
    for label, row, target in zip(labels, rows, targets, strict=True):
        label[len(row) - len(target) : len(row)] = target
    return Sequences(embeds, mask, labels)


def pad_left(rows: Sequence[Tensor]) -> Sequences:
    """Batch for generation: every row ends at the last position."""
    embeds = pad_sequence([row.flip(0) for row in rows], batch_first=True).flip(1)
    lengths = torch.tensor([len(r) for r in rows], device=embeds.device)
    mask = (torch.arange(embeds.shape[1], device=embeds.device) < lengths[:, None]).flip(1)
    return Sequences(embeds, mask, torch.full(mask.shape, IGNORE, device=embeds.device))
