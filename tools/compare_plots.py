"""Plots of a comparison: error against tokens per second of clip, and against noise.

Methods -> SVG text by file name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from compare_claims import PAIRS
from compare_figures import Condition, Method, error

from avsr.svg import curves

PLOTS = {"rates": "wer_by_tokens.svg", "noise": "wer_by_snr.svg"}


def plots(found: Sequence[Method]) -> dict[str, str]:
    """Both plots, a line a method."""
    return {
        PLOTS["rates"]: curves(
            {m.title: _points(m, PAIRS) for m in found},
            title="Sound and lips, clean: word error rate by tokens per second of clip",
            across="tokens per second",
            up="WER, %",
        ),
        PLOTS["noise"]: curves(
            {m.title: _noise(m) for m in found},
            title="Sound and lips at rates 4,2: word error rate under babble",
            across="signal-to-noise ratio, dB",
            up="WER, %",
        ),
    }


def _points(method: Method, keys: Iterable[Condition]) -> list[tuple[float, float]]:
    """Tokens per second and error in per cent, from few tokens to many."""
    known = [key for key in keys if key in method.rows]
    points = [(method.mean("tokens_per_second", [k]), 100 * error(method, k).value) for k in known]
    return sorted(points)


def _noise(method: Method) -> list[tuple[float, float]]:
    keys = [k for k in method.rows if (k.task, k.audio, k.video) == ("av", 4, 2)]
    return sorted((k.snr, 100 * error(method, k).value) for k in keys if k.snr is not None)
