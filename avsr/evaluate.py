"""Error rates of a recogniser over a manifest: each task, rate pair and noise level, one pass.

items -> decoded and tracked once -> towers once a noise level -> text at every rate pair -> Row.
A clip that fails counts as one in which nothing was heard, so that no failure improves a figure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from avsr.api import Recogniser
from avsr.conditions import Condition, System, conditions
from avsr.decode import DecodeOptions
from avsr.errors import AvsrError, ConfigError
from avsr.manifest import Item
from avsr.prepare import Prepared
from avsr.score import DRAWS, Score, score
from avsr.score_report import Report
from avsr.takes import Takes, Wave
from frontends.damage import Damage
from frontends.media import open_clip

__all__ = [
    "Condition",
    "EvalOptions",
    "Heard",
    "Row",
    "System",
    "conditions",
    "evaluate",
    "read_noise",
]


class Baseline(Protocol):
    """Another recogniser of sound, such as `avsr.baseline.WhisperBaseline`."""

    def transcribe(self, waves: Sequence[Wave]) -> list[str]:
        """Write down each wave [S] of 16 kHz sound."""
        ...


@dataclass(frozen=True)
class EvalOptions:
    """How to run an evaluation.

    Args:
        decode: search settings.
        roi: "given" where clips are mouth crops already.
        normalizer: a name of `avsr.normalize.NORMALIZERS`.
        batch_size: clips decoded together.
        samples: bootstrap draws.
        seed: of the draws, and of the place in the noise where each clip's begins.
        bootstrap_by: what the bootstrap draws.
        damages: what clips meet, by the names that conditions give.
    """

    decode: DecodeOptions = field(default_factory=DecodeOptions)
    roi: Literal["auto", "given"] = "auto"
    normalizer: str = "lrs3"
    batch_size: int = 8
    samples: int = DRAWS
    seed: int = 0
    bootstrap_by: Literal["utterance", "speaker"] = "utterance"
    damages: Mapping[str, Damage] = field(default_factory=dict)


@dataclass(frozen=True)
class Heard:
    """What came of one clip under one condition.

    Args:
        item: the clip.
        text: what was recognised; "" where it failed.
        tokens: stream tokens the language model read.
        seconds: work, from the file to the text.
        truncated: the text was cut at the token limit.
        error: why it failed, or None.
        stages: the work by stage.
    """

    item: Item
    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    truncated: bool = False
    error: str | None = None
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One condition's figures and the clips behind them."""

    condition: Condition
    score: Score
    heard: tuple[Heard, ...]

    @property
    def failed(self) -> tuple[Heard, ...]:
        """Clips that could not be read."""
        return tuple(one for one in self.heard if one.error is not None)

    @property
    def tokens_per_second(self) -> float | None:
        """Stream tokens for each second of clip; None for the baseline."""
        if self.condition.system != "avsr":
            return None
        return self._share(sum(one.tokens for one in self._read))

    @property
    def rtf(self) -> float | None:
        """Seconds of work for each second of clip, loading of the model left out."""
        return self._share(sum(one.seconds for one in self._read))

    @property
    def rtf_by_stage(self) -> dict[str, float]:
        """The parts of `rtf`: media, lips, towers, language model."""
        found: dict[str, float] = {}
        for stage in dict.fromkeys(name for one in self._read for name in one.stages):
            share = self._share(sum(one.stages.get(stage, 0.0) for one in self._read))
            if share is not None:
                found[stage] = share
        return found

    @property
    def truncated(self) -> int:
        """Texts cut at the token limit."""
        return sum(one.truncated for one in self.heard)

    @property
    def _read(self) -> list[Heard]:
        return [one for one in self.heard if one.error is None]

    def _share(self, total: float) -> float | None:
        seconds = sum(one.item.duration for one in self._read)
        return total / seconds if seconds > 0 else None

    def report(self, *, most: int = 10, drawn: str = "utterance") -> Report:
        """The score with its confusions, lengths and worst utterances.

        Args:
            most: how many confusions and worst utterances to tell.
            drawn: what the bootstrap drew.
        """
        ids = tuple(one.item.id for one in self.heard)
        speakers = tuple(one.item.speaker or "" for one in self.heard)
        return Report(self.score, ids, speakers if all(speakers) else (), None, drawn, most)

    def to_dict(self, *, most: int = 10, drawn: str = "utterance") -> dict[str, Any]:
        """Return figures and texts, ready for JSON; for the arguments see `report`."""
        rates, clips = self.condition.rates, len(self.heard)
        scored = self.report(most=most, drawn=drawn).to_dict()
        del scored["schema"]
        return {
            "system": self.condition.system,
            "task": self.condition.task,
            "rates": rates.to_dict() if rates is not None else None,
            "snr_db": self.condition.snr,
            "damage": self.condition.damage,
            "clips": clips,
            "failed": len(self.failed),
            "tokens_per_second": self.tokens_per_second,
            "rtf": self.rtf,
            "rtf_by_stage": self.rtf_by_stage,
            "empty_share": self.score.empty / clips,
            "truncated_share": self.truncated / clips,
            **scored,
            "hypotheses": [
                {
                    "id": one.item.id,
                    "text": one.item.text,
                    "pred_text": one.text,
                    "word_errors": pair.words.edits,
                    "truncated": one.truncated,
                    "error": one.error,
                }
                for one, pair in zip(self.heard, self.score.utterances, strict=True)
            ],
        }


def read_noise(path: str | Path) -> Wave:
    """Read a noise file.

    Args:
        path: any media file with sound.

    Returns:
        Mono float32 [S] at 16 kHz.

    Raises:
        MediaError: it cannot be read.
        ConfigError: it has no sound.
    """
    wave = open_clip(path, streams="a").audio
    if wave is None or len(wave) == 0:
        raise ConfigError("the noise file has no sound", where=str(path), todo="Give another file.")
    return wave


def evaluate(
    recogniser: Recogniser,
    items: Sequence[Item],
    wanted: Sequence[Condition],
    *,
    options: EvalOptions | None = None,
    noise: Wave | None = None,
    baseline: Baseline | None = None,
    progress: Callable[[int], None] = lambda clips: None,
) -> list[Row]:
    """Recognise every clip under every condition and score it.

    Args:
        recogniser: a loaded model.
        items: the clips; those without a picture are left out of tasks that read lips.
        wanted: from `conditions`.
        options: how to run.
        noise: [S] at 16 kHz, for conditions with an SNR.
        baseline: for conditions of system "whisper".
        progress: called after each batch with the number of its clips.

    Returns:
        A row for each condition that any clip took part in, in the order given.

    Raises:
        ConfigError: a condition needs noise, damage or a baseline that was not given.
    """
    options = EvalOptions() if options is None else options
    missing = {c.damage for c in wanted if c.damage is not None} - set(options.damages)
    if missing:
        raise ConfigError(f"damage {sorted(missing)[0]!r} was asked for and not given")
    if noise is None and any(condition.snr is not None for condition in wanted):
        raise ConfigError("an SNR was asked for without noise", todo="Give a noise file.")
    if baseline is None and any(condition.system != "avsr" for condition in wanted):
        raise ConfigError("a baseline row was asked for without a baseline")
    heard: dict[Condition, list[Heard]] = {condition: [] for condition in wanted}
    for first in range(0, len(items), options.batch_size):
        batch = [
            Takes(
                recogniser,
                item,
                noise=noise,
                roi=options.roi,
                seed=options.seed,
                damages=options.damages,
            )
            for item in items[first : first + options.batch_size]
        ]
        for condition in wanted:
            clips = [clip for clip in batch if "v" not in condition.task or clip.item.has_video]
            heard[condition] += _hear(recogniser, clips, condition, options, baseline)
        progress(len(batch))
    return [_row(condition, found, options) for condition, found in heard.items() if found]


def _row(condition: Condition, heard: Sequence[Heard], options: EvalOptions) -> Row:
    result = score(
        [one.item.text for one in heard],
        [one.text for one in heard],
        options.normalizer,
        samples=options.samples,
        seed=options.seed,
        clusters=[one.item.speaker for one in heard] if options.bootstrap_by == "speaker" else None,
    )
    return Row(condition, result, tuple(heard))


def _hear(
    recogniser: Recogniser,
    clips: Sequence[Takes],
    condition: Condition,
    options: EvalOptions,
    baseline: Baseline | None,
) -> list[Heard]:
    """One condition over one batch, in the order of the clips."""
    taken = [clip.take(condition.task, condition.snr, condition.damage) for clip in clips]
    able = [view for view in taken if isinstance(view, Prepared)]
    if condition.system == "avsr":
        texts = iter(_ours(recogniser, able, condition, options))
    else:
        assert baseline is not None
        texts = iter(_theirs(baseline, able))
    return [
        Heard(clip.item, error=str(view)) if isinstance(view, AvsrError) else next(texts)(clip.item)
        for clip, view in zip(clips, taken, strict=True)
    ]


def _ours(
    recogniser: Recogniser, able: Sequence[Prepared], condition: Condition, options: EvalOptions
) -> list[Callable[[Item], Heard]]:
    results = recogniser.recognise(
        able, modality=condition.task, rates=condition.rates, options=options.decode
    )
    return [
        partial(
            Heard,
            text=made.text,
            tokens=made.tokens["audio"] + made.tokens["video"],
            seconds=made.timing["total"],
            truncated=made.truncated,
            stages={k: v for k, v in made.timing.items() if k not in ("total", "rtf")},
        )
        for made in results
    ]


def _theirs(baseline: Baseline, able: Sequence[Prepared]) -> list[Callable[[Item], Heard]]:
    began = time.perf_counter()
    waves = [view.wave for view in able if view.wave is not None]
    texts = baseline.transcribe(waves) if waves else []
    spent = (time.perf_counter() - began) / max(len(waves), 1)
    return [
        partial(Heard, text=text, seconds=view.timing["media"] + spent)
        for text, view in zip(texts, able, strict=True)
    ]
