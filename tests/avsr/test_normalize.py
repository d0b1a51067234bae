"""Normalisers do what their name says, twice the same, and are versioned."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsr import normalize
from avsr.errors import ConfigError, SetupError
from avsr.normalize import NORMALIZERS, normalizer, spell_digits


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("Bin BLUE, at F two now!", "bin blue at f two now"),
        ("DON\u2019T 'quote' the dogs' toys", "don't quote the dogs toys"),
        ("well-known — and_so", "well known and so"),
        ("1,000 men, 3.5 miles", "1000 men 3 5 miles"),
        ("naïve cafe\u0301", "naïve café"),
        ("  \t\n", ""),
        ("...", ""),
    ],
)
def test_lrs3_is_lower_case_words_with_their_apostrophes(written, compared):
    assert normalizer("lrs3")(written) == compared


@given(st.text())
def test_lrs3_twice_is_lrs3_once(text):
    rules = normalizer("lrs3")
    assert rules(rules(text)) == rules(text)


@given(st.text())
def test_none_changes_nothing(text):
    assert normalizer("none")(text) == text


def test_basic_drops_brackets_and_punctuation():
    assert normalizer("basic")("Hello, (laughs) <i>World</i>!") == "hello world"


def test_every_version_begins_with_its_name():
    for name in NORMALIZERS:
        if name != "whisper-en":
            assert normalizer(name).version.startswith(f"{name}/")


def test_a_normalizer_is_its_own_name():
    made = normalizer("lrs3")
    assert normalizer(made) is made


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"no normalizer 'lrs2'.*lrs3, whisper-en, basic, none"):
        normalizer("lrs2")


@pytest.fixture
def _fresh():
    normalize._make_whisper_en.cache_clear()
    yield
    normalize._make_whisper_en.cache_clear()


@pytest.mark.usefixtures("_fresh")
def test_whisper_en_uses_the_table_and_names_it(tmp_path, monkeypatch):
    table = tmp_path / "english.json"
    table.write_text(json.dumps({"colour": "color"}))
    monkeypatch.setattr(normalize, "_spelling_table", lambda: table)
    rules = normalizer("whisper-en")
    assert rules("Mr. Brown, COLOUR isn't twenty-five") == "mister brown color is not 25"
    assert "+spelling-" in rules.version


@pytest.mark.usefixtures("_fresh")
def test_whisper_en_without_its_table_says_what_to_install(monkeypatch):
    monkeypatch.setattr(normalize, "_spelling_table", lambda: None)
    with pytest.raises(SetupError, match="pip install whisper-normalizer") as caught:
        normalizer("whisper-en")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("numerals", "words"),
    [
        ("set white at B2 now", "set white at B two now"),
        ("place red in q0again", "place red in q zero again"),
        ("in 1905 and 1850, 1900", "in nineteen oh five and eighteen fifty , nineteen hundred"),
        ("1,250 men on the 22nd", "one thousand two hundred fifty men on the twenty second"),
        ("20 215 3000 007", "twenty two hundred fifteen three thousand zero zero seven"),
        ("no numbers", "no numbers"),
    ],
)
def test_digits_are_spelled_out(numerals, words):
    assert spell_digits(numerals) == words


@given(st.integers(0, 10**9))
def test_no_digit_is_left(number):
    assert not any(c.isdigit() for c in spell_digits(str(number)))
