"""Text as it is compared: named, versioned normalisers.

A word error rate means nothing without the normaliser behind it, so each carries a version that
goes into every report: `lrs3` (lower case, no punctuation, the habit of LRS2/LRS3 papers),
`whisper-en` (OpenAI's English rules, Radford et al. 2022, appendix C), `basic` (OpenAI's rules for
any language) and `none`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from avsr.errors import ConfigError, SetupError

__all__ = ["NORMALIZERS", "Normalizer", "normalizer", "spell_digits"]


@dataclass(frozen=True)
class Normalizer:
    """A function from text to text under a name.

    Args:
        name: one of `NORMALIZERS`.
        version: name and version; goes into reports, and changes whenever an output could.
        apply: the function itself.
    """

    name: str
    version: str
    apply: Callable[[str], str]

    def __call__(self, text: str) -> str:
        """Return the text as it is compared."""
        return self.apply(text)


def normalizer(name: str | Normalizer = "lrs3") -> Normalizer:
    """Look a normaliser up by name.

    Args:
        name: one of `NORMALIZERS`; a `Normalizer` is returned as it is.

    Returns:
        The normaliser, ready to call.

    Raises:
        ConfigError: no such normaliser.
        SetupError: `whisper-en` was asked for and its spelling table is not installed.
    """
    if isinstance(name, Normalizer):
        return name
    if name not in _MAKERS:
        raise ConfigError(f"no normalizer {name!r}", todo=f"Choose from {', '.join(_MAKERS)}.")
    return _MAKERS[name]()


# Letters, marks and digits, with apostrophes only between them.
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_APOSTROPHES = str.maketrans(dict.fromkeys("’ʼ＇‘´`", "'"))  # noqa: RUF001
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def _lrs3(text: str) -> str:
    composed = unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)
    composed = unicodedata.normalize("NFC", composed)
    return " ".join(_WORD.findall(_THOUSANDS.sub("", _keep_marks(composed))))


def _keep_marks(text: str) -> str:
    """Drop combining marks that have no composed letter: they would cut a word in two."""
    return "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Me"))


def _make_lrs3() -> Normalizer:
    return Normalizer("lrs3", "lrs3/1", _lrs3)


def _make_none() -> Normalizer:
    return Normalizer("none", "none/1", str)


@lru_cache(maxsize=1)
def _make_basic() -> Normalizer:
    import transformers
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    rules = BasicTextNormalizer()
    version = f"basic/transformers-{transformers.__version__}"
    return Normalizer("basic", version, lambda text: " ".join(rules(text).split()))


@lru_cache(maxsize=1)
def _make_whisper_en() -> Normalizer:
    import transformers
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    table = _spelling_table()
    if table is None:
        raise SetupError(
            "normalizer 'whisper-en' needs OpenAI's table of British and American spellings",
            todo="Run: pip install whisper-normalizer.",
        )
    data = table.read_bytes()
    rules = EnglishTextNormalizer(json.loads(data))
    digest = hashlib.sha256(data).hexdigest()[:8]
    version = f"whisper-en/transformers-{transformers.__version__}+spelling-{digest}"
    return Normalizer("whisper-en", version, lambda text: " ".join(rules(text).split()))


def _spelling_table() -> Path | None:
    """Find english.json as two packages carry it, without importing either."""
    for package in ("whisper_normalizer", "whisper"):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            table = Path(folder) / "normalizers" / "english.json"
            if table.is_file():
                return table
    return None


_MAKERS: dict[str, Callable[[], Normalizer]] = {
    "lrs3": _make_lrs3,
    "whisper-en": _make_whisper_en,
    "basic": _make_basic,
    "none": _make_none,
}

NORMALIZERS = tuple(_MAKERS)
"""The names `normalizer` knows."""

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_NUMBER = re.compile(r"(\d+)(st|nd|rd|th)(?![^\W_])|(\d{1,3}(?:,\d{3})+(?!\d)|\d+)", re.IGNORECASE)


def spell_digits(text: str) -> str:
    """Write whole numbers as English words: "set white at B2 now" -> "set white at B two now".

    For scoring a system that writes numerals against references that spell them. Four figures from
    1100 to 1999 are read as a year ("eighteen fifty"), six or more figures one by one, the rest as
    cardinals; "2nd" becomes "second". Decimal points and currency are left as they are.

    Args:
        text: any English text.

    Returns:
        The text with spaces around each spelled number.
    """

    def spelled(match: re.Match[str]) -> str:
        words = _number(match[1] if match[1] is not None else match[3])
        if match[2] is not None:
            words[-1] = _ordinal(words[-1])
        return f" {' '.join(words)} "

    return " ".join(_NUMBER.sub(spelled, text).split())


def _number(written: str) -> list[str]:
    """Words for figures as they are written, with or without commas at the thousands."""
    digits = written.replace(",", "")
    if len(digits) > 5 or (len(digits) > 1 and digits[0] == "0"):
        return [_ONES[int(digit)] for digit in digits]
    if digits == written and 1100 <= int(digits) <= 1999:
        century, rest = divmod(int(digits), 100)
        if rest == 0:
            return [*_cardinal(century), "hundred"]
        return [*_cardinal(century), *(["oh"] if rest < 10 else []), *_cardinal(rest)]
    return _cardinal(int(digits))


def _cardinal(value: int) -> list[str]:
    if value < 20:
        return [_ONES[value]]
    if value < 100:
        return [_TENS[value // 10], *([_ONES[value % 10]] if value % 10 > 0 else [])]
    unit, name = (1000, "thousand") if value >= 1000 else (100, "hundred")
    head = [*_cardinal(value // unit), name]
    return head + (_cardinal(value % unit) if value % unit > 0 else [])


def _ordinal(word: str) -> str:
    if word in _ORDINALS:
        return _ORDINALS[word]
    return f"{word[:-1]}ieth" if word.endswith("y") else f"{word}th"
