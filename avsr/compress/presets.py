"""Methods of other papers as settings of ours: a name -> what `compressors.build` takes.

A preset is the nearest our compressors come to a paper's own rule, not its code: attention scores
of a language model or a tower, which several of them use, are not at hand before the LLM.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from avsr.compress.asked import Asked, read_budget
from avsr.compress.base import Compressor, compressors
from avsr.errors import ConfigError

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "adats": {"name": "affinity", "weights": "inverse"},
    "affinity-pooling": {"name": "affinity", "window": 1},
    "sa-map": {"name": "affinity", "link": "mean"},
    "fastvid": {"name": "affinity"},
    "prunevid": {"name": "density-peak", "neighbours": 5},
    "cluster-aggregate": {"name": "k-means"},
    "dycoke": {"name": "window-merge", "window": 2, "similarity": 0.9},
    "mustdrop": {"name": "window-merge", "window": 3, "similarity": 0.6},
    "hico-clips": {"name": "atome", "clip": 16},
    "fastlongspeech": {"name": "weighted", "by": "density"},
    "kffocus": {"name": "keyframe"},
    "stc-pruner": {"name": "novelty", "mode": "drop"},
    "divprune": {"name": "select", "by": "diversity"},
    "dart": {"name": "select", "by": "pivot"},
    "visionzip": {"name": "select", "by": "received"},
    "ppllava": {"name": "guided", "guide": "prompt", "nested": "yes"},
    "docslm": {"name": "hier"},
    "omni-avsr": {"name": "pool", "tail": "drop"},
}


def resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings behind a preset's name; other configurations as they are.

    Args:
        config: {"name": ..., **parameters}; parameters of a preset may be overridden.

    Raises:
        ConfigError: a name that is neither a compressor's nor a preset's; the nearest are listed.
    """
    name = config.get("name")
    preset = PRESETS.get(name) if isinstance(name, str) else None
    if preset is None:
        if isinstance(name, str) and name not in compressors:
            near = difflib.get_close_matches(name, [*compressors, *PRESETS], n=3, cutoff=0.5)
            raise ConfigError(
                f"no compressor is called {name!r}",
                todo=(f"Did you mean {' or '.join(near)}? " if near else "")
                + f"Known: {', '.join(compressors)}; settings of other papers: "
                + ", ".join(PRESETS),
            )
        return dict(config)
    return {**preset, **{key: value for key, value in config.items() if key != "name"}}


def build_compressor(
    config: Mapping[str, Any],
    *,
    width: int,
    other_width: int | None,
    rates: Sequence[int],
    words: int = 1,
) -> Compressor:
    """A compressor for tokens of a width, its sizes filled in where it has any.

    Args:
        config: of a compressor or a preset; a "budget" beside it is all that it is ever asked for.
        width: of the tokens.
        other_width: of the other modality's tokens, None without one.
        rates: whole rates it will be used at.
        words: width of the embeddings of words, for what is guided by them.

    Raises:
        ConfigError: an unknown name or parameter, or another modality is needed and not there.
    """
    config = resolved(config)
    if "budget" in config:
        budget = read_budget(config.pop("budget"))
        inner = build_compressor(
            config, width=width, other_width=other_width, rates=rates, words=words
        )
        return Asked(inner, budget)
    if not isinstance(config.get("name"), str):
        return compressors.build(config)  # which says what is wrong
    known = inspect.signature(compressors[config["name"]]).parameters
    if config.get("guide") in ("phrases", "prompt"):
        other_width = words
    sizes: dict[str, Any] = {"width": width, "other_width": other_width}
    if "rates" in known and known["rates"].default is inspect.Parameter.empty:
        sizes["rates"] = list(rates)
    filled = {key: value for key, value in sizes.items() if key in known} | config
    if "other_width" in known and filled["other_width"] is None:
        raise ConfigError(
            f"compressor {config['name']!r} is guided by the other modality, and there is none",
            todo="Choose a compressor without a guide, or give the model a video tower",
        )
    return compressors.build(filled)
