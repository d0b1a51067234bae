"""What a model is made of, as plain data: the part of a checkpoint that is JSON.

Data: `config.json` <-> AvsrConfig.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from typing import Any

from avsr.errors import ConfigError
from avsr.projector import ProjectorConfig
from experts import Common, LoraConfig, MomeConfig, Row, Task, find_method

PROMPTS: Mapping[Task, str] = {
    "a": "Transcribe speech to text.",
    "v": "Transcribe video to text.",
    "av": "Transcribe speech and video to text.",
}  # arXiv 2510.04136, appendix A.3


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
        compress: compressor of each modality, as `compressors.build` takes it.
        projector: sizes of every projector.
        method: what widens the LLM, by its name in `experts.registry.METHODS`.
        mome: sizes and placement of the experts, for "mome" and what is measured by it.
        lora: sizes of the low-rank layers, for "lora" and its kin.
        settings: sizes of the method that are not said there, by their names.
        prompts: the instruction of each task.
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

    def __post_init__(self) -> None:
        """Check what the types cannot promise of a file."""
        for name, rates in (("audio_rates", self.audio_rates), ("video_rates", self.video_rates)):
            whole = isinstance(rates, tuple) and all(type(r) is int and r >= 1 for r in rates)
            if not whole or len(set(rates)) != len(rates):
                raise ConfigError(f"{name} must be distinct whole numbers >= 1, got {rates!r}")
        if not isinstance(self.compress, Mapping) or "name" not in self.compress:
            raise ConfigError(f"compress must have a name, got {self.compress!r}")
        if not isinstance(self.prompts, Mapping) or set(self.prompts) != set(PROMPTS):
            raise ConfigError(f"prompts must be of {', '.join(PROMPTS)}, got {self.prompts!r}")
        if not isinstance(self.settings, Mapping):
            raise ConfigError(f"settings must name the method's sizes, got {self.settings!r}")
        try:
            _ = self.sizes
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"method {self.method!r}: {error}",
                todo="Correct method, its section or settings in the model's configuration.",
            ) from error

    @property
    def sizes(self) -> Any:
        """Configuration of the method."""
        common = Common(self.mome, self.lora)
        return find_method(self.method).sizes(common, self.settings)

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
        parts = {"projector": ProjectorConfig, "mome": MomeConfig, "lora": LoraConfig}
        for key, kind in parts.items():
            if given.get(key) is not None:
                try:
                    given[key] = kind(**given[key])
                except (TypeError, ValueError) as error:
                    raise ConfigError(
                        f"{key} of a model's configuration: {error}",
                        todo="The checkpoint may come from a newer version of this package.",
                    ) from error
        return cls(**given)
