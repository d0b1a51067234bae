"""What a model is made of, as plain data: the part of a checkpoint that is JSON.

Data: `config.json` <-> AvsrConfig.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from typing import Any

from avsr.errors import ConfigError, ModelError
from avsr.projector import ProjectorConfig
from avsr.rates import Rates
from experts import Common, LoraConfig, MomeConfig, Row, Task, find_method
from frontends.tower_lora import TowerLora

PROMPTS: Mapping[Task, str] = {
    "a": "Transcribe speech to text.",
    "v": "Transcribe video to text.",
    "av": "Transcribe speech and video to text.",
}  # arXiv 2510.04136, appendix A.3
_PARTS = {"projector": ProjectorConfig, "mome": MomeConfig, "lora": LoraConfig}


@dataclass(frozen=True)
class AvsrConfig:
    """An audio-visual recogniser: frozen parts by name, trained parts by their sizes.

    Args:
        language_model: pinned name, hub id or folder of the frozen LLM.
        audio_tower: pinned name, hub id or folder of a Whisper model, or of an AV-HuBERT that
            tools/convert_avhubert.py made (its rates then count frames of 25 Hz).
        video_tower: folder of a lip encoder or hub id or folder of an AV-HuBERT, "." for the
            lip encoder beside this configuration, None for sound only.
        audio_rates: trained audio rates.
        video_rates: trained video rates; empty without a video tower.
        compress: compressor of both modalities, as `compressors.build` takes it, or of each:
            {"audio": ..., "video": ...}.
        projector: sizes of every projector.
        method: what widens the LLM, by its name in `experts.registry.METHODS`.
        mome: sizes and placement of the experts, for "mome" and what is measured by it.
        lora: sizes of the low-rank layers, for "lora" and its kin.
        settings: sizes of the method that are not said there, by their names.
        prompts: the instruction of each task.
        ctc_weights: share of each projector's own reading, by CTC, in the search (`avsr.joint`), as
            {"audio_4": 0.3}; the LLM has what is left of 1.
        tower_lora: sizes of low-rank layers that are trained inside a tower, as
            {"video": TowerLora(rank=64)}; a tower with some runs anew in every step.
    """

    language_model: str = "smollm2-135m-instruct"
    audio_tower: str = "whisper-tiny.en"
    video_tower: str | None = "."
    audio_rates: tuple[int, ...] = (4, 16)
    video_rates: tuple[int, ...] = (2, 5)
    compress: Mapping[str, Any] = field(default_factory=lambda: {"name": "pool"})
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    method: str = "mome"
    mome: MomeConfig = field(default_factory=MomeConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[Task, str] = field(default_factory=lambda: dict(PROMPTS))
    ctc_weights: Mapping[str, float] = field(default_factory=dict)
    tower_lora: Mapping[str, TowerLora] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what the types cannot promise of a file."""
        for name, rates in (("audio_rates", self.audio_rates), ("video_rates", self.video_rates)):
            whole = isinstance(rates, tuple) and all(type(r) is int and r >= 1 for r in rates)
            if not whole or len(set(rates)) != len(rates):
                raise ConfigError(f"{name} must be distinct whole numbers >= 1, got {rates!r}")
            if list(rates) != sorted(rates):
                raise ConfigError(f"{name} go from the finest to the coarsest, got {rates!r}")
        if not self.audio_rates and not self.video_rates:
            raise ConfigError("a model needs audio_rates or video_rates, and has none")
        if self.video_rates and self.video_tower is None:
            raise ConfigError(f"video_rates={self.video_rates} need a video_tower, and it is null")
        each = self.compress if isinstance(self.compress, Mapping) else {}
        parts = [each] if "name" in each else list(each.values())
        for name, kind in _PARTS.items():
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(f"{name} must name sizes, got {getattr(self, name)!r}")
        named = bool(parts) and all(isinstance(p, Mapping) and "name" in p for p in parts)
        if not named or ("name" not in each and set(each) != {"audio", "video"}):
            raise ConfigError(
                f"compress must have a name, or audio and video with one each: {self.compress!r}"
            )
        stacked = any(part["name"] == "stack" for part in parts)
        alike = self.projector.per == "rate" or not stacked
        if not alike and max(len(self.audio_rates), len(self.video_rates)) > 1:
            raise ConfigError(
                "stacked tokens are of another width at each rate: no projector reads them all",
                todo='Choose projector.per "rate", or pool.',
            )
        if not isinstance(self.prompts, Mapping) or set(self.prompts) != set(PROMPTS):
            raise ConfigError(f"prompts must be of {', '.join(PROMPTS)}, got {self.prompts!r}")
        wordless = [t for t, text in self.prompts.items() if not isinstance(text, str) or not text]
        if wordless:
            raise ConfigError(f"prompts must be text, got {self.prompts!r}")
        if not isinstance(self.settings, Mapping):
            raise ConfigError(f"settings must name the method's sizes, got {self.settings!r}")
        self._check_ctc()
        towers = {"audio", "video"} if self.video_tower is not None else {"audio"}
        if not isinstance(self.tower_lora, Mapping) or not set(self.tower_lora) <= towers:
            raise ConfigError(
                f"tower_lora must be of {', '.join(sorted(towers))}, got {self.tower_lora!r}"
            )
        try:
            _ = self.sizes
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"method {self.method!r}: {error}",
                todo="Correct method, its section or settings in the model's configuration.",
            ) from error

    def _check_ctc(self) -> None:
        """The weights name projectors, and leave the LLM something at every rate pair."""
        weights = self.ctc_weights
        real = isinstance(weights, Mapping) and all(
            isinstance(w, int | float) and 0 <= w < 1 for w in weights.values()
        )
        if not real:
            raise ConfigError(f"ctc_weights must be shares from 0 to below 1, got {weights!r}")
        names = self.streams
        if not set(weights) <= set(names):
            raise ConfigError(f"ctc_weights must be of {', '.join(names)}, got {dict(weights)!r}")
        largest = [
            max((w for name, w in weights.items() if name.startswith(kind)), default=0.0)
            for kind in ("audio", "video")
        ]
        if sum(largest) >= 1:
            raise ConfigError(f"ctc_weights leave the language model nothing: {dict(weights)!r}")

    @property
    def streams(self) -> tuple[str, ...]:
        """Projected streams of every trained rate, as "audio_4"."""
        both = (("audio", self.audio_rates), ("video", self.video_rates))
        return tuple(f"{kind}_{rate}" for kind, rates in both for rate in rates)

    @property
    def sizes(self) -> Any:
        """Configuration of the method."""
        common = Common(self.mome, self.lora)
        return find_method(self.method).sizes(common, self.settings)

    def check_rates(self, rates: Rates) -> None:
        """Refuse a rate that was not trained.

        Raises:
            ModelError: names the trained rates.
        """
        asked = (
            ("audio", rates.audio, self.audio_rates),
            ("video", rates.video, self.video_rates),
        )
        for kind, rate, trained in asked:
            if rate is not None and rate not in trained:
                raise ModelError(
                    f"{kind} rate {rate} was not trained",
                    todo=f"Choose one of the trained {kind} rates: "
                    f"{', '.join(map(str, trained)) or 'none'}.",
                )

    @property
    def scales(self) -> tuple[Row, ...]:
        """Every trained rate pair of every task."""
        audio, video = self.audio_rates, self.video_rates
        both = [Row(a, v) for a, v in product(audio, video)]
        return (*(Row(a, None) for a in audio), *(Row(None, v) for v in video), *both)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "AvsrConfig":
        """Read back what `to_dict` wrote.

        Raises:
            ConfigError: an unknown key, or a value that makes no model.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"a model's configuration is an object of settings, got {data!r}")
        unknown = set(data) - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigError(
                f"unknown keys {sorted(unknown)} in a model's configuration",
                todo="The checkpoint may come from a newer version of this package.",
            )
        given = dict(data)
        for key in ("audio_rates", "video_rates"):
            if isinstance(given.get(key), list):
                given[key] = tuple(given[key])
        for key, kind in _PARTS.items():
            if isinstance(given.get(key), Mapping):
                try:
                    given[key] = kind(**given[key])
                except (TypeError, ValueError) as error:
                    newer = isinstance(error, TypeError)  # an unknown key
                    raise ConfigError(
                        f"{key} of a model's configuration: {error}",
                        todo="The checkpoint may come from a newer version of this package."
                        if newer
                        else "Correct it in the model's configuration.",
                    ) from error
        lora = given.get("tower_lora")
        if isinstance(lora, Mapping):
            try:
                given["tower_lora"] = {kind: TowerLora(**sizes) for kind, sizes in lora.items()}
            except (TypeError, ValueError) as error:
                raise ConfigError(f"tower_lora of a model's configuration: {error}") from error
        return cls(**given)
