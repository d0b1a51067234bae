"""Rates are read, refused and written."""

import subprocess
import sys

import pytest

from avsr.errors import ConfigError
from avsr.rates import Rates


def test_rates_are_data() -> None:
    assert Rates() == Rates(audio=4, video=2)
    assert len({Rates(4, 2), Rates(4, 2), Rates(4, None)}) == 2


@pytest.mark.parametrize(
    ("text", "rates"),
    [("4,2", Rates(4, 2)), (" 16 , 5 ", Rates(16, 5)), ("4,none", Rates(4, None))],
)
def test_rates_are_parsed_and_written(text: str, rates: Rates) -> None:
    assert Rates.parse(text) == rates
    assert Rates.parse(str(rates)) == rates
    assert Rates.from_dict(rates.to_dict()) == rates


@pytest.mark.parametrize("text", ["", "4", "4,2,1", "a,b", "4.5,2", "-4,2", "0,2", "none,none"])
def test_texts_that_are_no_rates(text: str) -> None:
    with pytest.raises(ConfigError):
        Rates.parse(text)


@pytest.mark.parametrize(("audio", "video"), [(0, 2), (4, -1), (True, 2), (4.0, 2), (None, None)])
def test_numbers_that_are_no_rates(audio: int, video: int) -> None:
    with pytest.raises(ConfigError):
        Rates(audio, video)


def test_unknown_modalities_are_named() -> None:
    with pytest.raises(ConfigError, match="touch"):
        Rates.from_dict({"audio": 4, "touch": 2})


def test_rates_need_no_torch() -> None:
    code = "import sys, avsr.rates; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
