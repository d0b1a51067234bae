"""`random,seed=-1` and `keyframe,step=1e-300` were built, and died at the first frame.

The one with an error of numpy's, the other with all memory; other seeds with one of torch's.
"""

import re
from typing import Any

import pytest

from avsr.compress.presets import build_compressor
from avsr.errors import ConfigError

WRONG: list[tuple[dict[str, Any], str]] = [
    *(
        ({"name": name, "seed": seed}, f"seed must lie in 0 to 2^63 - 1, got {seed}")
        for name in ("random", "hier", "qformer", "cif", "guided")
        for seed in (-1, 1 << 64)
    ),
    (
        {"name": "keyframe", "step": 1e-300},
        "step from 0.001 and 1 <= fine <= coarse, got least=0.0",
    ),
    ({"name": "keyframe", "least": 0.5}, "least=0.5, most=0.32, step=0.16, fine=2, coarse=4"),
]


@pytest.mark.parametrize(("config", "told"), WRONG, ids=str)
def test_they_are_refused_when_it_is_built(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        build_compressor(config, width=5, other_width=3, rates=(4,))
