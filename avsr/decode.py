"""From LLM sequences to words: our own generation settings, deterministic, truncation reported.

Data: left-padded Sequences -> Hypothesis per row. Never inherits an LLM's sampling defaults.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from avsr.config import AvsrConfig
from avsr.ctc import EmbeddingCtc
from avsr.errors import ConfigError
from avsr.joint import JointScores, read_voices
from avsr.model import AvsrModel
from avsr.views import Features, View

WordTimes = Literal["none", "align"]


@dataclass(frozen=True)
class DecodeOptions:
    """How to search.

    Args:
        beam_size: 1 is greedy.
        max_new_tokens: cap on the tokens written per clip, None to derive it from its length.
        ctc_weight: share of a projector's own reading in each token's score, the same for every
            projector; None for the shares that the model's configuration gives.
        word_times: "align" has each word of the finished text found in the frames.
    """

    beam_size: int = 1
    max_new_tokens: int | None = None
    ctc_weight: float | None = None
    word_times: WordTimes = "none"

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.beam_size < 1:
            raise ConfigError(f"beam size must be at least 1, got {self.beam_size}")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ConfigError(f"max new tokens must be at least 1, got {self.max_new_tokens}")
        if self.word_times not in get_args(WordTimes):
            raise ConfigError(f"word times are 'none' or 'align', got {self.word_times!r}")
        if self.ctc_weight is not None and not 0 <= self.ctc_weight < 0.5:
            raise ConfigError(
                f"the CTC weight must lie between 0 and 0.5, got {self.ctc_weight}",
                todo="With sound and lips both have it, and the language model has the rest.",
            )

    def shares(self, config: AvsrConfig) -> Mapping[str, float]:
        """Share of each projector of a model in the search."""
        if self.ctc_weight is None:
            return config.ctc_weights
        return {name: self.ctc_weight for name in config.streams} if self.ctc_weight > 0 else {}

    def cap(self, seconds: float) -> int:
        """Most tokens for a clip; fast speech has about five a second."""
        return 16 + round(8 * seconds) if self.max_new_tokens is None else self.max_new_tokens


@dataclass(frozen=True)
class Hypothesis:
    """What was decoded for one view.

    Args:
        text: the transcript.
        token_ids: the tokens behind it, without EOS.
        logprobs: natural log-probability of each token; one more, for EOS, when it was reached.
        truncated: the cap on new tokens was met before EOS.
        prompt_tokens: length of the LLM sequence before the first new token.
        read: tokens of "audio" and "video" in it, 0 for a modality that is left out.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    truncated: bool
    prompt_tokens: int
    read: Mapping[str, int]

    @property
    def avg_logprob(self) -> float | None:
        """Mean log-probability of the tokens, None for an empty hypothesis."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else None


@torch.inference_mode()
def decode(
    model: AvsrModel,
    features: Features,
    views: Sequence[View],
    seconds: Sequence[float],
    options: DecodeOptions | None = None,
    alignment: EmbeddingCtc | None = None,
) -> list[Hypothesis]:
    """Transcribe each view.

    Args:
        model: the recogniser, in eval mode.
        features: tower features of the batch.
        views: which row at which rates.
        seconds: length of each view's clip, for the cap on new tokens.
        options: search settings.
        alignment: CTC of the projectors; without it the LLM searches alone.

    Returns:
        One hypothesis a view, the same whatever else is in the batch.
    """
    from transformers import GenerationConfig

    if not views:
        return []
    options = options or DecodeOptions()
    streams = model.tokens(features, views)
    batch = model.lay_out(streams, views)
    caps = [options.cap(s) for s in seconds]
    eos = model.tokenizer.eos_id
    settings = GenerationConfig(
        do_sample=False,
        num_beams=options.beam_size,
        max_new_tokens=max(caps),
        eos_token_id=eos,
        pad_token_id=eos,
        length_penalty=1.0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    llm = _without_defaults(model.llm)
    joint = []
    shares = options.shares(model.config)
    if alignment is not None and shares:
        voices = read_voices(alignment, streams, views, shares)
        joint = [JointScores(voices, alignment.vocabulary, eos)]
    with model.adapter.reading([view.kind for view in views]):
        out = llm.generate(
            inputs_embeds=batch.embeds,
            attention_mask=batch.mask.long(),
            generation_config=settings,
            logits_processor=joint,
            stopping_criteria=[_OwnCap(caps)],
        )
    scores = _greedy_logprobs(out) if options.beam_size == 1 else _beam_logprobs(llm, out)
    lengths = batch.mask.sum(1).tolist()
    read = [
        {kind: 0 if x is None else len(x) for kind, x in model.parts(streams, view).items()}
        for view in views
    ]
    return [
        _hypothesis(model, ids.tolist(), logp.tolist(), cap, int(n), own)
        for ids, logp, cap, n, own in zip(out.sequences, scores, caps, lengths, read, strict=True)
    ]


class _OwnCap:
    """Ends each row at its own cap: a beam search that went on would choose another sentence.

    Args:
        caps: most new tokens of each row.
    """

    def __init__(self, caps: Sequence[int]) -> None:
        self.caps = torch.tensor(caps)

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """[B * beams, new tokens] -> [B * beams] bool, true where a row is full."""
        caps = self.caps.to(input_ids.device)
        return input_ids.shape[1] >= caps.repeat_interleave(len(input_ids) // len(caps))


def _without_defaults(llm: Any) -> Any:
    """The same modules under settings of nobody.

    `generate` fills whatever we leave open (repetition penalty, suppressed tokens, ...) from the
    settings shipped beside the weights. A shallow copy has none, and the LLM itself, which other
    threads may be using, stays as it is.
    """
    from transformers import GenerationConfig

    bare = copy.copy(llm)
    bare.generation_config = GenerationConfig()
    return bare


def _greedy_logprobs(out: Any) -> Tensor:
    """Log-probability [B, S] of each chosen token; one step at a time, the vocabulary is wide."""
    steps = zip(out.logits, out.sequences.T, strict=True)
    picked = [z.float().log_softmax(-1).gather(-1, ids[:, None]) for z, ids in steps]
    return torch.cat(picked, dim=1)


def _beam_logprobs(llm: Any, out: Any) -> Tensor:
    """Log-probability [B, S] of each token of the best beam, by the LLM alone."""
    scores: Tensor = llm.compute_transition_scores(
        out.sequences, out.logits, out.beam_indices, normalize_logits=True
    )
    return scores


def _hypothesis(
    model: AvsrModel,
    ids: list[int],
    logprobs: list[float],
    cap: int,
    prompt_tokens: int,
    read: Mapping[str, int],
) -> Hypothesis:
    """Cut one row at its own cap, beyond which there is only filling, and at EOS."""
    eos = model.tokenizer.eos_id
    ids = ids[:cap]
    truncated = eos not in ids
    end = len(ids) if truncated else ids.index(eos)
    scored = logprobs[: end if truncated else end + 1]
    text = " ".join(model.tokenizer.decode(ids[:end]).split())
    return Hypothesis(text, tuple(ids[:end]), tuple(scored), truncated, prompt_tokens, read)
