"""The two compressors of a model: one for sound, one for lips.

Data: configuration, tower widths, rates -> {"audio": Compressor, "video": Compressor}.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn

from avsr.compress.asked import read_budget
from avsr.compress.base import Compressor, compressors
from avsr.compress.presets import build_compressor, resolved
from avsr.errors import ConfigError, ModelError

KINDS = ("audio", "video")
# What a model puts into a guide; density needs a CTC beside it, phrases must be told.
GIVES = ("other", "density", "phrases")
_PARTS = re.compile(r",(?![^\[]*\])")  # commas outside brackets


def build_pair(
    config: Mapping[str, Any],
    widths: Mapping[str, int | None],
    rates: Mapping[str, Sequence[int]],
    *,
    words: int = 1,
) -> nn.ModuleDict:
    """Compressors of both modalities.

    Args:
        config: {"name": ..., **parameters} for both, or {"audio": ..., "video": ...}.
        widths: of the towers' features; None without a tower.
        rates: whole rates of each modality.
        words: width of the embeddings of words.

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
            each[kind], width=width, other_width=widths[other], rates=rates[kind], words=words
        )
        _check_guide(made[kind])
    for kind in KINDS:
        made.setdefault(kind, next(iter(made.values())))
    alike = made["audio"].to_dict() == made["video"].to_dict()
    if alike and not list(made["audio"].parameters()):
        made["video"] = made["audio"]
    return nn.ModuleDict(made)


def _check_guide(compressor: Compressor, gives: Collection[str] = GIVES) -> None:
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
    """Read a compressor from a command line.

    Args:
        text: "cluster", "keyframe,fine=1,coarse=4", "duration,rates=[4,16]",
            "affinity,budget=threshold:0.9"; behind "audio=" or "video=" for one modality alone.

    Raises:
        ConfigError: a part without a name or a value.
    """
    kind, given, rest = text.partition("=")
    if given and kind.strip() in KINDS:
        return {kind.strip(): parse(rest)}
    name, *parts = (part.strip() for part in _PARTS.split(text))
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
        ModelError: the card of the one asked for, or of the model's own, says that tokens of the
            one are nothing to projectors that were trained with another; or it takes no rates and
            was given no budget.
        ConfigError: no such compressor.
    """
    own, wanted = resolved(trained), resolved(config)
    each = [own] if "name" in own else [resolved(one) for one in own.values()]
    if all(_settings(one) == _settings(wanted) for one in each):
        return None, None
    asked = _spelt(config)
    if _alone(wanted):
        raise ModelError(
            f"the model was not trained with the compressor {asked!r}, and its projectors "
            "cannot read such tokens",
            todo=f"Train one with compress: {{name: {config['name']}}}, or choose another method.",
        )
    alone = [_spelt(one) for one in each if _alone(one)]
    if alone:
        raise ModelError(
            f"the model was trained with the compressor {alone[0]!r}, and its projectors "
            f"cannot read the tokens of {asked!r}",
            todo=f"Keep its own, or train one with compress: {{name: {config.get('name')}}}.",
        )
    made = build_compressor(wanted, width=1, other_width=1, rates=(1,))
    _check_guide(made, gives)
    if "rate" not in made.card.budgets and "budget" not in wanted:
        raise ModelError(
            f"compressor {asked!r} takes no rates, and a model asks for nothing else",
            todo="Give it a budget, as budget=threshold:0.9, or choose one that takes rates.",
        )
    behind = "" if _spelt(wanted) == asked else f" ({_spelt(wanted)})"
    return made, f"compressed by {asked!r}{behind}; the model was trained with {_spelt(own)!r}"


def replaced(
    own: nn.ModuleDict,
    trained: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    gives: Collection[str] = ("other",),
) -> tuple[nn.ModuleDict, dict[str, Any], str] | None:
    """Compressors of both modalities, some of them other ones than a model was trained with.

    Args:
        own: the model's.
        trained: configuration of those.
        config: of one for both, or {"audio": ..., "video": ...}; a modality left out keeps its own.
        gives: as for `foreign`.

    Returns:
        The pair, its configuration, and what must be said of it; None where nothing is another.

    Raises:
        AvsrError: as for `foreign`.
    """
    if "name" in config or not config:
        alike, note = foreign(trained, config, gives=gives)
        if alike is None:
            return None
        return nn.ModuleDict(dict.fromkeys(KINDS, alike)), alike.to_dict(), str(note)
    unknown = sorted(set(config) - set(KINDS))
    if unknown:
        raise ConfigError(f"compressors are of {' and '.join(KINDS)}, got {', '.join(unknown)}")
    pair, notes = dict(own.items()), []
    for kind in KINDS:
        before = trained if "name" in trained else trained[kind]
        one, note = foreign(before, config[kind], gives=gives) if kind in config else (None, None)
        if one is not None:
            pair[kind] = one
            notes.append(f"{kind} {note}")
    told = {kind: c.to_dict() for kind, c in pair.items() if isinstance(c, Compressor)}
    return (nn.ModuleDict(pair), told, "; ".join(notes)) if notes else None


def _alone(config: Mapping[str, Any]) -> bool:
    """Whether only a model that was trained with a compressor can read its tokens."""
    name = config.get("name")
    return isinstance(name, str) and compressors[name].card.foreign == "refuses"


def _spelt(config: Mapping[str, Any]) -> str:
    """A configuration as `parse` reads it."""
    if "name" not in config:
        return "one for each modality"
    more = [f"{key}={_value(value)}" for key, value in config.items() if key != "name"]
    return ",".join([str(config["name"]), *more])


def _value(value: Any) -> str:
    if isinstance(value, Mapping):  # a budget
        return ",".join(f"{kind}:{number:g}" for kind, number in value.items())
    return str(value)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with its defaults, of which a model says only some, in one spelling.

    Raises:
        ConfigError: a budget that cannot be read.
    """
    kind = compressors[config["name"]] if isinstance(config.get("name"), str) else None
    known = {} if kind is None else inspect.signature(kind).parameters
    given = {k: p.default for k, p in known.items() if p.default is not inspect.Parameter.empty}
    told = {k: tuple(v) if isinstance(v, list) else v for k, v in {**given, **config}.items()}
    return {**told, "budget": read_budget(told["budget"])} if "budget" in told else told
