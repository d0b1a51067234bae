"""A method with a budget of its own met it, and a transcript said that the model's rate was missed.

Just so it spoke of one that did miss its budget. And a budget in another spelling was another
compressor: a model that was asked for its own said that it read with a foreign one.
"""

from types import SimpleNamespace

import pytest

from avsr.api import Recogniser
from avsr.compress.pair import foreign, parse
from tests.avsr.compress.test_pair import hear
from tests.tiny import awaken, tiny_model

SPELT = [
    ({"name": "affinity", "budget": {"threshold": 0.9}}, "affinity,budget=threshold:0.9"),
    ({"name": "pool", "budget": "per_second:4"}, "pool,budget=per_second:4.0"),
    ({"name": "duration", "rates": [1, 2], "cap": 9}, {"name": "duration", "rates": (1, 2)}),
    ({"name": "duration", "rates": [1, 2, 4, 8, 16, 32, 64]}, {"name": "duration"}),
    ({"audio": {"name": "keyframe", "fine": 2}, "video": {"name": "kffocus"}}, "keyframe"),
    ({"audio": {"name": "stack"}, "video": {"name": "stack"}}, "stack"),
]


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ("pool,budget=tokens:9", ()),
        ("cluster,budget=per_second:10", ()),  # 9 of 42 frames, at 0.84 s
        ("random,budget=keep:0.5", ()),
        ("affinity,budget=threshold:0.1", ()),  # nothing was asked for
        ("pool", ()),
        (
            "none,budget=tokens:9",
            (
                "audio budget tokens:9 stands for 9 tokens, 42 were made",
                "video budget tokens:9 stands for 9 tokens, 21 were made",
            ),
        ),
        (
            "pool,tail=drop,budget=rate:5",
            (
                "audio budget rate:5 stands for 9 tokens, 8 were made",
                "video budget rate:5 stands for 5 tokens, 4 were made",
            ),
        ),
    ],
)
def test_what_is_missed_is_said_and_nothing_else(budget: str, told: tuple[str, ...]) -> None:
    model = awaken(tiny_model(audio_rates=(4, 16), video_rates=(2, 5)))
    recogniser = Recogniser(model, SimpleNamespace(hz=50.0), None, {"name": "tiny"})
    recogniser.use_compressor(budget)
    warnings = hear(recogniser).warnings
    assert tuple(w for w in warnings if not w.startswith("compressed by")) == told


@pytest.mark.parametrize(("own", "asked"), SPELT)
def test_another_spelling_is_the_same_compressor(own: dict, asked: str | dict) -> None:
    config = parse(asked) if isinstance(asked, str) else asked
    same = own.get("cap") is None  # the third pair differs
    assert (foreign(own, config) == (None, None)) is same
