"""From LLM sequences to words: our own generation settings, deterministic, truncation reported.

Data: left-padded Sequences -> Hypothesis per row. Never inherits an LLM's sampling defaults.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avsr.errors import ConfigError
from avsr.model import AvsrModel, Features, View


@dataclass(frozen=True)
class DecodeOptions:
    """How to search.

    Args:
        beam_size: 1 is greedy.
        max_new_tokens: cap on the tokens written per clip, None to derive it from the clip's length.
    """

    beam_size: int = 1
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.beam_size < 1:
            raise ConfigError(f"beam size must be at least 1, got {self.beam_size}")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ConfigError(f"max new tokens must be at least 1, got {self.max_new_tokens}")

    def cap(self, seconds: float) -> int:
        """Most tokens for a clip; fast speech has about five a second."""
        return self.max_new_tokens or 16 + round(8 * seconds)


@dataclass(frozen=True)
class Hypothesis:
    """What was decoded for one view.

    Args:
        text: the transcript.
        token_ids: the tokens behind it, without EOS.
        logprobs: natural log-probability of each token; one more, for EOS, when it was reached.
        truncated: the cap on new tokens was met before EOS.
        prompt_tokens: length of the LLM sequence before the first new token.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    truncated: bool
    prompt_tokens: int

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
) -> list[Hypothesis]:
    """Transcribe each view.

    Args:
        model: the recogniser, in eval mode.
        features: tower features of the batch.
        views: which row at which rates.
        seconds: length of each view's clip, for the cap on new tokens.
        options: search settings.

    Returns:
        One hypothesis a view, the same whatever else is in the batch.
    """
    from transformers import GenerationConfig

    options = options or DecodeOptions()
    batch = model.sequences(features, views)
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
        output_logits=options.beam_size == 1,
        output_scores=options.beam_size > 1,
    )
    out = model.llm.generate(
        inputs_embeds=batch.embeds, attention_mask=batch.mask.long(), generation_config=settings
    )
    scores = _greedy_logprobs(out) if options.beam_size == 1 else _beam_logprobs(model, out)
    lengths = batch.mask.sum(1).tolist()
    return [
        _hypothesis(model, ids.tolist(), logp.tolist(), cap, int(n))
        for ids, logp, cap, n in zip(out.sequences, scores, caps, lengths, strict=True)
    ]


def _greedy_logprobs(out: object) -> Tensor:
    """Log-probability [B, S] of each chosen token."""
    logits = torch.stack(out.logits, dim=1).float()  # type: ignore[attr-defined]
    chosen: Tensor = out.sequences  # type: ignore[attr-defined]
    return logits.log_softmax(-1).gather(-1, chosen[..., None])[..., 0]


def _beam_logprobs(model: AvsrModel, out: object) -> Tensor:
    """Log-probability [B, S] of each token of the best beam."""
    scores: Tensor = model.llm.compute_transition_scores(
        out.sequences,  # type: ignore[attr-defined]
        out.scores,  # type: ignore[attr-defined]
        out.beam_indices,  # type: ignore[attr-defined]
    )
    return scores


def _hypothesis(
    model: AvsrModel, ids: list[int], logprobs: list[float], cap: int, prompt_tokens: int
) -> Hypothesis:
    """Cut one row at EOS or at its own cap, so that batch and single agree."""
    eos = model.tokenizer.eos_id
    end = ids.index(eos) if eos in ids else len(ids)
    truncated = end > cap or (end == len(ids) and end >= cap)
    end = min(end, cap)
    scored = logprobs[: end if truncated else end + 1]
    text = " ".join(model.tokenizer.decode(ids[:end]).split())
    return Hypothesis(text, tuple(ids[:end]), tuple(scored), truncated, prompt_tokens)
