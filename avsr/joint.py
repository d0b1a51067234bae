"""The LLM and the CTC of the projectors search together.

Data: projected tokens of each row -> a processor that mixes both scores at every step of
`generate`. The LLM may drift into what is likely English; the frames hold it to what was said, and
to all of it. (Hybrid CTC/attention decoding: Watanabe et al. 2017; greedy is a beam of one.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avsr.ctc import EmbeddingCtc
from avsr.ctc_prefix import Prefix, PrefixScorer
from avsr.streams import TokenStream
from avsr.views import View

FLOOR = -20.0  # nats; below it CTC only knows "no", and LLM scores must still differ


@dataclass(frozen=True)
class Voice:
    """One stream of a row that has a say.

    Args:
        scorer: of its frames.
        weight: of its score; the LLM has what the voices of a row leave of 1.
    """

    scorer: PrefixScorer
    weight: float


class JointScores:
    """A logits processor: log-probability of each next token by LLM and CTC together.

    Args:
        voices: of each row; a row without any keeps the LLM's scores.
        vocabulary: LLM token of each CTC class, blank left out.
        eos: LLM token that ends a transcript.
    """

    def __init__(
        self, voices: Sequence[Sequence[Voice]], vocabulary: Sequence[int], eos: int
    ) -> None:
        self.voices, self.eos = voices, eos
        self.tokens = torch.tensor(vocabulary)
        self.class_of = {token: i + 1 for i, token in enumerate(vocabulary)}
        self._known: dict[tuple[int, ...], list[Prefix]] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """New tokens so far [B * beams, S] and the LLM's logits [B * beams, V] -> scores."""
        out = scores.log_softmax(-1)
        beams = len(input_ids) // len(self.voices)
        known: dict[tuple[int, ...], list[Prefix]] = {}
        for index, said in enumerate(input_ids.tolist()):
            voices = self.voices[index // beams]
            if not voices or self.eos in said:
                continue
            key = (index // beams, *said)
            known[key] = prefixes = self._prefixes(key, voices)
            mixed = (1.0 - sum(voice.weight for voice in voices)) * out[index]
            for voice, prefix in zip(voices, prefixes, strict=True):
                mixed = mixed + voice.weight * self._advice(voice.scorer, prefix, mixed)
            out[index] = mixed
        self._known = known
        return out

    def _prefixes(self, key: tuple[int, ...], voices: Sequence[Voice]) -> list[Prefix]:
        """State of each voice after a row's tokens; its parent was there one step ago."""
        if len(key) == 1:
            return [voice.scorer.start() for voice in voices]
        parents = self._known[key[:-1]]
        return [
            voice.scorer.extend(parent, self.class_of.get(key[-1], voice.scorer.unknown))
            for voice, parent in zip(voices, parents, strict=True)
        ]

    def _advice(self, scorer: PrefixScorer, prefix: Prefix, like: Tensor) -> Tensor:
        """CTC's log-probability [V] of each next token given the prefix."""
        totals = scorer.totals(prefix) - prefix.total
        out = totals[-1].clamp_min(FLOOR).repeat(len(like))
        out[self.tokens] = totals[1:-1].clamp_min(FLOOR)
        out[self.eos] = max(FLOOR, scorer.end(prefix) - prefix.total)
        return out.to(like)


def read_voices(
    alignment: EmbeddingCtc,
    streams: Mapping[str, TokenStream],
    views: Sequence[View],
    weights: Mapping[str, float],
) -> list[list[Voice]]:
    """Voices of each view: its streams that have a weight.

    Args:
        alignment: the CTC.
        streams: projected, by projector.
        views: which row at which rates.
        weights: by projector, as {"audio_4": 0.3}.
    """
    tables = {name: alignment.log_probs(streams[name].x) for name in weights if name in streams}
    out = []
    for view in views:
        names = (f"audio_{view.rates.audio}", f"video_{view.rates.video}")
        own = []
        for name in (name for name in names if name in tables):
            count = int(streams[name].lengths[view.row])
            own.append(Voice(PrefixScorer(tables[name][view.row, :count]), weights[name]))
        out.append(own)
    return out
