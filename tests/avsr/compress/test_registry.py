"""Names are found, and misspelt ones are answered with the nearest."""

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
