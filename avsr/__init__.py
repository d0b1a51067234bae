"""Audio-visual speech recognition at any rate, with a Mixture of Matryoshka Experts.

A clip's sound and lips become two token streams, each at a rate chosen at inference, and a frozen
language model widened by experts writes the transcript (arXiv 2510.04136).

    import avsr
    print(avsr.transcribe("clip.mp4").text)

Dimension letters in every shape: B batch, T frames, N tokens, D width, E experts, K active experts,
R rates, H width of the language model, S samples. Times are seconds, sound is 16 kHz mono float32,
lips are 25 frames a second of 96 x 96 grey.

Names are imported when first used, so that `import avsr` and `avsr --help` stay free of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from avsr.startup import collector_paused

if TYPE_CHECKING:
    from avsr.api import Recogniser
    from avsr.errors import (
        AvsrError,
        ConfigError,
        MediaError,
        ModelError,
        RoiError,
        SetupError,
    )
    from avsr.loading import load_model, transcribe
    from avsr.rates import Rates
    from avsr.score import score
    from avsr.transcript import Segment, Transcript, Word

__all__ = [
    "AvsrError",
    "ConfigError",
    "MediaError",
    "ModelError",
    "Rates",
    "Recogniser",
    "RoiError",
    "Segment",
    "SetupError",
    "Transcript",
    "Word",
    "load_model",
    "score",
    "transcribe",
]

__version__ = "0.1.0"

_HOMES = {
    "avsr.api": ("Recogniser",),
    "avsr.errors": (
        "AvsrError",
        "ConfigError",
        "MediaError",
        "ModelError",
        "RoiError",
        "SetupError",
    ),
    "avsr.loading": ("load_model", "transcribe"),
    "avsr.rates": ("Rates",),
    "avsr.transcript": ("Segment", "Transcript", "Word"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name == "score":
        # The module of that name is callable: the attribute is the same whoever imported it first.
        return import_module("avsr.score")
    for home, names in _HOMES.items():
        if name in names:
            with collector_paused():
                value = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'avsr' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted([*__all__, "__version__"])
