"""One frame that was no number took every method's count of tokens with it, or its whole row.

It was nearest to nothing, so `cluster` never merged it and `atome` never ended a round with it. And
a guide of other frames than the stream's was an error of torch's from somewhere inside.
"""

import re

import pytest
import torch

from avsr.api import Recogniser
from avsr.compress import Guide, compressors
from avsr.errors import ConfigError, ModelError
from avsr.prepare import Prepared
from avsr.streams import Budget, TokenStream
from tests.avsr.compress.cases import ALL, CASES, Case, frames, guide, stream
from tests.tiny import tiny_model

GUIDED = [
    Case(config, Budget.rate(4))
    for config in (
        {"name": "guided"},
        {"name": "hier"},
        {"name": "guided", "guide": "density"},
        {"name": "weighted", "by": "density"},
        {"name": "cluster", "weights": "density"},
        {"name": "keyframe", "relevance": "density"},
        {"name": "select", "by": "received"},
    )
]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_it_is_refused_where_features_come_in(value: float, dtype: torch.dtype) -> None:
    x = frames(2, 9).to(dtype)
    x[1, 6, 2] = value
    told = r"features of frame 6 of row 1 are not finite \(1 frames of 16 are not\)"
    with pytest.raises(ModelError, match=told):
        TokenStream.from_features(x, torch.tensor([9, 7]), 50.0)
    TokenStream.from_features(x, torch.tensor([9, 6]), 50.0)  # it is padding


def test_numbers_whose_sum_is_none_are_taken() -> None:
    s = TokenStream.from_features(torch.full((1, 9, 2), 3e38), torch.tensor([9]), 50.0)
    for case in CASES:
        if case.card.mechanism == "similarity":
            assert case.run(s, ALL[case.budget.kind]).lengths.min() > 0


def test_it_harms_no_other_clip_of_a_batch() -> None:
    class Tower:
        hz, width = 50.0, 8

        def __call__(self, waves: torch.Tensor, lengths: torch.Tensor) -> tuple:
            return waves[:, :80].reshape(-1, 10, 8), torch.tensor([10] * len(waves))

    recogniser = Recogniser(tiny_model(), Tower(), None, {})
    good, bad = (
        Prepared("x.wav", 1.0, "a", torch.full((80,), v).numpy(), None, None, ())
        for v in (1.0, float("nan"))
    )
    recogniser.encode([good])
    with pytest.raises(ModelError, match="features of frame 0 are not finite"):
        recogniser.encode([bad])
    assert good.audio is not None
    assert bad.audio is None


@pytest.mark.parametrize("case", GUIDED, ids=str)
def test_a_guide_of_another_stream_is_refused_with_its_shape(case: Case) -> None:
    s = stream()
    whole = guide(s)._replace(received=torch.ones(6, 24))
    made = compressors.build(case.build().to_dict())
    made(s, case.budget, whole)
    short, wide = torch.ones(6, 23), torch.ones(6, 24, 5)
    other = whole.other
    assert other is not None
    wrong = {
        "density": [short, wide, torch.ones(24)],
        "received": [short],
        "other": [other.select([0, 1])],
        "prompt": [torch.ones(2, 3, 4), torch.ones(3, 4)],
        "phrases": [wide],
        "keys": [short, torch.ones(6, 23, 5)],
    }
    for name, values in wrong.items():
        for value in values:
            shape = list(value.x.shape if isinstance(value, TokenStream) else value.shape)
            told = f"guide's {name} is {shape}, and the stream has 6 rows of 24 frames"
            for run in (made, lambda s, b, g: made.multi(s, [b], g)):
                with pytest.raises(ConfigError, match=re.escape(told)):
                    run(s, case.budget, whole._replace(**{name: value}))


@pytest.mark.parametrize("name", ["guided", "hier"])
def test_a_guide_of_another_width_is_refused(name: str) -> None:
    s = stream()
    wide = TokenStream.from_features(torch.ones(6, 9, 7), torch.tensor([9] * 6), 25.0)
    with pytest.raises(ConfigError, match=r"other is \[6, 9, 7\], and .* width of 3"):
        Case({"name": name}, Budget.rate(4)).compressor(s, Budget.rate(4), Guide(other=wide))


@pytest.mark.parametrize("source", ["phrases", "prompt"])
def test_words_of_another_width_are_refused(source: str) -> None:
    words = torch.ones(4, 7) if source == "phrases" else torch.ones(1, 4, 7)
    made = Case({"name": "guided", "guide": source}, Budget.rate(4)).compressor
    with pytest.raises(ConfigError, match=f"{source} is .* width of 3"):
        made(stream(), Budget.rate(4), Guide(**{source: words}))


def test_weights_that_are_no_numbers_are_refused() -> None:
    s, density = stream(), torch.ones(6, 24)
    density[3, 1:] = float("nan")  # padding: that row has one frame
    case = Case({"name": "cluster", "weights": "density"}, Budget.rate(4))
    case.compressor(s, case.budget, Guide(density=density))
    density[0, 5] = float("nan")
    with pytest.raises(ConfigError, match="density is not finite"):
        case.compressor(s, case.budget, Guide(density=density))
