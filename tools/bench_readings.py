"""Readings of a bench of compressors: which clips a piece of it reads, and with how many errors.

Data: recogniser, clips of a block, rates -> texts -> words, edits and tokens of each clip.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench_takes import EMPTY

from avsr.errors import ConfigError
from avsr.manifest import Item
from avsr.prepare import Prepared
from avsr.rates import Rates
from avsr.score import score

BATCH = 24  # clips decoded together
DETAILS = {"grid": (3, 4)}  # GRID's letter and digit: what no language model can guess


@dataclass(frozen=True)
class Block:
    """What is measured in one piece.

    Args:
        condition: its name in the figures.
        corpus: of the manifest.
        take: condition of the clips, a name that `bench_takes` knows.
        tasks: streams read.
        clips: how many at most, None for all.
    """

    condition: str
    corpus: str
    take: str
    tasks: tuple[str, ...]
    clips: int | None = None


BLOCKS = (
    Block("clean", "grid", "clean", ("a", "v", "av")),
    Block("babble", "grid", "babble", ("a", "av")),
    Block("fast", "grid", "fast", ("a", "av")),
    Block("slow", "grid", "slow", ("a", "av")),
    Block("silence", "grid", "silence", ("a", "av"), 60),
    Block("noise", "grid", "noise", ("a", "av"), 60),
    Block("librispeech", "librispeech", "clean", ("a",), 60),
)


def blocks_of(names: Sequence[str] | None) -> list[Block]:
    """The blocks of these conditions, all of them without names.

    Raises:
        ConfigError: a name of none.
    """
    known = [block.condition for block in BLOCKS]
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ConfigError(f"no blocks {', '.join(unknown)}", todo=f"There are {', '.join(known)}.")
    return [block for block in BLOCKS if names is None or block.condition in names]


def read(
    recogniser: Any,
    items: Sequence[Item],
    clips: Sequence[Prepared],
    task: str,
    rates: Rates,
    block: Block,
) -> dict[str, Any]:
    """Texts of clips at one rate pair, and their errors.

    Args:
        recogniser: with its method.
        items: the clips' lines.
        clips: with features.
        task: streams read.
        rates: rate pair.
        block: whose clips they are.
    """
    order = sorted(range(len(clips)), key=lambda row: clips[row].seconds)
    texts, sure, cut = [""] * len(clips), [0.0] * len(clips), 0
    used, prompts = [0] * len(clips), [0] * len(clips)
    streams = {"audio": 0, "video": 0}
    began = time.perf_counter()
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        made = recogniser.recognise([clips[row] for row in rows], modality=task, rates=rates)
        for row, one in zip(rows, made, strict=True):
            texts[row] = one.text
            used[row] = one.tokens["audio"] + one.tokens["video"]
            for kind in streams:
                streams[kind] += one.tokens[kind]
            prompts[row] = used[row] + one.tokens["prompt"]
            sure[row] = round(one.segments[0].avg_logprob or 0.0, 3)
            cut += one.truncated
    spent = time.perf_counter() - began
    seconds = [clip.seconds for clip in clips]
    each = [tokens / length for tokens, length in zip(used, seconds, strict=True)]
    common = {
        "tokens_per_second": sum(used) / sum(seconds),
        "tokens_per_second_p95": _p95(each),
        "seconds": sum(seconds),
        "rtf": spent / sum(seconds),
        "truncated": cut,
        "prompts": prompts,
        "tokens": used,
        "streams": streams,
        "sure": sure,
    }
    if block.take in EMPTY:
        heard = [len(text.split()) for text in texts]
        return {**common, "words": [0] * len(heard), "edits": heard}
    pairs = score([item.text for item in items], texts, samples=0).utterances
    out = {
        **common,
        "words": [pair.words.reference for pair in pairs],
        "edits": [pair.words.edits for pair in pairs],
    }
    if block.corpus in DETAILS:
        out["detail_edits"] = [detail(pair.alignment, DETAILS[block.corpus]) for pair in pairs]
        out["detail_words"] = [len(DETAILS[block.corpus])] * len(pairs)
    return out


def detail(alignment: Sequence[tuple[str, str]], places: Sequence[int]) -> int:
    """Words at some places of what was said that were not heard.

    Args:
        alignment: said and heard, "" where one side has none.
        places: of the words said.
    """
    said = [(word, heard) for word, heard in alignment if word]
    return sum(said[place][0] != said[place][1] for place in places if place < len(said))


def _p95(values: Sequence[float]) -> float:
    return max(values) if len(values) < 2 else statistics.quantiles(values, n=20)[-1]
