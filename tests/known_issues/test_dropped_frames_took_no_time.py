"""After a stage that drops frames a budget of tokens a second counted the seconds that were left.

Every fourth frame of two seconds made half a second. `keyframe` took its seconds from the same sum.
"""

import pytest
import torch

from avsr.compress import Keyframe, Stride, compressors
from avsr.compress.windows import cut
from avsr.streams import Budget, TokenStream
from tests.avsr.compress.cases import CONFIGS, LAWLESS, VARIANTS, Case

LOSSY = [
    Case(config, Budget.rate(4))
    for config in (*CONFIGS, *VARIANTS)
    if compressors[config["name"]].card.op == "drop"
    or config.get("mode") == "drop"
    or config in LAWLESS
]
LENGTHS = [103, 58, 0, 5]


def stream(x: torch.Tensor) -> TokenStream:
    return TokenStream.from_features(x, torch.tensor(LENGTHS), 50.0)


@pytest.mark.parametrize("case", LOSSY, ids=str)
def test_a_second_stays_a_second(case: Case) -> None:
    x = torch.randn(4, 103, 5, generator=torch.Generator().manual_seed(0))
    thin = case.run(stream(x)).validate()
    for speed in (0.5, 2.0, 4.0):
        wanted = [-(-n * speed // 50) for n in LENGTHS]
        for name in ("pool", "cluster", "stride"):
            again = compressors.build({"name": name})(thin, Budget.per_second(speed)).validate()
            assert again.lengths.tolist() == wanted, (name, speed)
            assert again.frames.tolist() == LENGTHS
    for part in (thin.select([1, 0]), thin.pad_to(60), thin.trim(), thin.replace(x=-thin.x)):
        assert part.validate().frames.max() == 103


def test_key_frames_of_what_is_left_lie_as_far_apart_in_time() -> None:
    thin = Stride()(stream(torch.ones(4, 103, 5)), Budget.rate(4))
    out = Keyframe(step=9.0, coarse=99.0)(thin, Budget.threshold(0.5))
    assert out.size[0].tolist() == [4, 4, 4, 4, 4, 4, 2]  # 0.32 s, of 12.5 frames a second


def test_a_piece_of_a_stream_counts_its_own_frames() -> None:
    s = stream(torch.ones(4, 103, 5))
    half = cut(s, torch.zeros(4).long(), s.lengths // 2)
    assert half.frames.tolist() == [n // 2 for n in LENGTHS]
