"""The two compressors of a model: one for sound, one for lips.

Data: configuration, tower widths, rates -> {"audio": Compressor, "video": Compressor}.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn

from avsr.compress.base import Compressor, compressors
from avsr.compress.presets import build_compressor, resolved
from avsr.errors import ConfigError, ModelError
from avsr.rates import Rates
from avsr.streams import Budget, TokenStream

KINDS = ("audio", "video")


def build_pair(
    config: Mapping[str, Any],
    widths: Mapping[str, int | None],
    rates: Mapping[str, Sequence[int]],
) -> nn.ModuleDict:
    """Compressors of both modalities.

    Args:
        config: {"name": ..., **parameters} for both, or {"audio": ..., "video": ...}.
        widths: of the towers' features; None without a tower.
        rates: whole rates of each modality.

    Returns:
        "audio" and "video", one and the same where nothing tells them apart.

    Raises:
        ConfigError: no such compressor, or one that is guided by what a model does not give.
    """
    each = config if "name" not in config else {kind: config for kind in KINDS}
    made: dict[str, Compressor] = {}
    for kind, other in (KINDS, KINDS[::-1]):
        width = widths[kind]
        if width is None:
            continue
        made[kind] = build_compressor(
            each[kind], width=width, other_width=widths[other], rates=rates[kind]
        )
        _check_guide(made[kind])
    for kind in KINDS:
        made.setdefault(kind, next(iter(made.values())))
    alike = made["audio"].to_dict() == made["video"].to_dict()
    if alike and not list(made["audio"].parameters()):
        made["video"] = made["audio"]
    return nn.ModuleDict(made)


def _check_guide(compressor: Compressor, gives: Collection[str] = ("other",)) -> None:
    """Refuse a compressor that looks for what a model does not give it.

    Raises:
        ConfigError: without it, it would pool evenly and nobody would know.
    """
    lacking = sorted(compressor.reads - {*gives})
    if lacking:
        raise ConfigError(
            f"compressor {compressor.card.name!r} is set to be guided by {', '.join(lacking)}, "
            "which a model does not give",
            todo="Choose another setting; in your own code, give it in the Guide",
        )


def parse(text: str) -> dict[str, Any]:
    """Read a compressor from a command line: "cluster", or "keyframe,fine=1,coarse=4".

    Raises:
        ConfigError: a part without a name or a value.
    """
    name, *parts = (part.strip() for part in text.split(","))
    out: dict[str, Any] = {"name": name}
    for part in parts:
        key, given, value = part.partition("=")
        if not key or not given:
            raise ConfigError(
                f"cannot read the compressor {text!r}", todo='Write "name,key=value,key=value"'
            )
        try:
            out[key.strip()] = json.loads(value)
        except ValueError:
            out[key.strip()] = value.strip()
    return out


def foreign(
    trained: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    gives: Collection[str] = ("other",),
) -> tuple[Compressor, str] | tuple[None, None]:
    """Another compressor for a model, and what must be said about it.

    Args:
        trained: configuration that the model was trained with.
        config: what is asked for.
        gives: fields of the guide that the model fills; "density" with a CTC of its projectors.

    Returns:
        The compressor and a warning; None and None for the one the model was trained with.

    Raises:
        ModelError: the card says that a model must be trained with it, or it takes no rates.
        ConfigError: no such compressor.
    """
    own, wanted = resolved(trained), resolved(config)
    if "name" in own and _settings(own) == _settings(wanted):
        return None, None
    card = compressors[wanted["name"]].card if isinstance(wanted.get("name"), str) else None
    if card is not None and card.foreign == "refuses":
        raise ModelError(
            f"the model was not trained with the compressor {card.name!r}, and its projectors "
            "cannot read such tokens",
            todo=f"Train one with compress: {{name: {card.name}}}, or choose another method.",
        )
    made = build_compressor(wanted, width=1, other_width=1, rates=(1,))
    _check_guide(made, gives)
    if "rate" not in made.card.budgets:
        raise ModelError(
            f"compressor {made.card.name!r} takes no rates, and a model asks for nothing else",
            todo="Choose one that takes rates.",
        )
    return made, f"compressed by {_spelt(wanted)!r}; the model was trained with {_spelt(own)!r}"


def _spelt(config: Mapping[str, Any]) -> str:
    """A configuration as `parse` reads it."""
    if "name" not in config:
        return "one for each modality"
    more = [f"{key}={value}" for key, value in config.items() if key != "name"]
    return ",".join([config["name"], *more])


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with its defaults, of which a model says only some."""
    kind = compressors[config["name"]] if isinstance(config.get("name"), str) else None
    known = {} if kind is None else inspect.signature(kind).parameters
    given = {k: p.default for k, p in known.items() if p.default is not inspect.Parameter.empty}
    return {**given, **config}


def same_for_both(compressor: Compressor) -> nn.ModuleDict:
    """One compressor for sound and lips."""
    return nn.ModuleDict({kind: compressor for kind in KINDS})


def token_counts(
    pair: nn.ModuleDict,
    audio: TokenStream | None,
    video: TokenStream | None,
    rates: Sequence[Rates],
) -> list[dict[str, int]]:
    """Tokens that each row was cut to.

    Args:
        pair: compressors of both modalities.
        audio: stream of the rows, None without any sound.
        video: the same of lips.
        rates: of each row.

    Returns:
        Tokens of "audio" and "video" for each row; 0 where a modality is left out. A compressor
        that may not meet its budget to the token is asked, the others need not be.
    """
    out = [{kind: 0 for kind in KINDS} for _ in rates]
    for kind, s in zip(KINDS, (audio, video), strict=True):
        compressor = pair[kind]
        assert isinstance(compressor, Compressor)
        if s is None:
            continue
        for rate in {rate for each in rates if (rate := getattr(each, kind)) is not None}:
            budget = Budget.rate(rate)
            exact = compressor.meets == "exactly"
            counts = s.resolve(budget) if exact else compressor(s, budget).lengths
            for row, count in enumerate(counts.tolist()):
                if getattr(rates[row], kind) == rate:
                    out[row][kind] = count
    return out
