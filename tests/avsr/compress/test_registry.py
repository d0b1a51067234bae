"""Names are found, and misspelt ones are answered with the nearest."""

import re

import pytest

from avsr.compress import Pool, compressors
from avsr.compress.registry import Registry
from avsr.errors import ConfigError


def test_objects_are_built_from_plain_data() -> None:
    made = compressors.build({"name": "pool", "tail": "drop"})
    assert isinstance(made, Pool)
    assert made.tail == "drop"
    assert list(compressors)[:2] == ["pool", "stack"]
    assert compressors["pool"] is Pool


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(ConfigError, match=r"'pol'.*Did you mean pool\?"):
        compressors.build({"name": "pol"})
    with pytest.raises(ConfigError, match=r"no parameter 'tial'.*Did you mean tail\?"):
        compressors.build({"name": "pool", "tial": "keep"})
    with pytest.raises(ConfigError, match="Known: pool, stack"):
        compressors.build({"name": "zzz"})


@pytest.mark.parametrize("config", [{}, {"name": None}, {"tail": "keep"}])
def test_a_name_is_needed(config: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="needs a name"):
        compressors.build(config)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"name": "affinity", "window": 1.5}, "window must be a whole number, got 1.5"),
        ({"name": "affinity", "window": True}, "window must be a whole number, got True"),
        ({"name": "affinity", "max_span": 2.5}, "max_span must be a whole number or null"),
        ({"name": "affinity", "link": "all"}, "link must be one of 'any', 'mean', got 'all'"),
        ({"name": "atome", "clip": 2.5}, "clip must be a whole number or null, got 2.5"),
        ({"name": "window-merge", "similarity": "abc"}, "similarity must be a finite number"),
        ({"name": "keyframe", "step": float("nan")}, "step must be a finite number, got nan"),
        ({"name": "random", "seed": "abc"}, "seed must be a whole number, got 'abc'"),
        ({"name": "cluster", "share": "abc"}, "share must be a finite number"),
        ({"name": "duration", "rates": [1, 2.5]}, "rates must be a list, each a whole number"),
        ({"name": "duration", "rates": 4}, "rates must be a list"),
        ({"name": "pool", "tail": 1}, "tail must be one of"),
    ],
    ids=str,
)
def test_values_of_another_type_are_refused(config: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        compressors.build(config)


def test_a_card_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="has a card that says 'pool'"):
        compressors.register("other")(type("Other", (Pool,), {}))
    assert "other" not in compressors


def test_the_configuration_is_not_changed() -> None:
    config = {"name": "pool", "tail": "keep"}
    compressors.build(config)
    assert config == {"name": "pool", "tail": "keep"}


def test_registration_is_checked() -> None:
    registry: Registry[object] = Registry("thing", needs=("card",))
    with pytest.raises(ValueError, match="lacks card"):
        registry.register("bare")(type("Bare", (), {}))
    made = registry.register("whole")(type("Whole", (), {"card": 1}))
    assert registry["whole"] is made
    with pytest.raises(ValueError, match="twice"):
        registry.register("whole")(made)
