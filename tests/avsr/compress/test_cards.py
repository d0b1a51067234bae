"""Cards, the page made of them, and its example of a method of one's own."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from avsr.compress import Pool, compressors
from avsr.compress.taxonomy import cards, taxonomy
from avsr.streams import Budget, TokenStream

PAGE = Path(__file__).parents[3] / "docs" / "compressors.md"


def test_every_compressor_is_in_the_table_and_every_mechanism_has_two() -> None:
    named = re.findall(r"^\| `([\w-]+)`", taxonomy(), re.MULTILINE)
    assert sorted(named) == sorted(compressors)
    mechanisms = [card.mechanism for card in cards()]
    assert mechanisms == sorted(mechanisms, key=mechanisms.index)
    assert all(mechanisms.count(each) >= 2 for each in mechanisms)


def test_a_card_that_contradicts_itself_is_refused() -> None:
    for wrong in ({"paper": ""}, {"about": ""}, {"streams": frozenset({"threshold"})}):
        with pytest.raises(ValueError, match="card of 'pool'"):
            replace(Pool.card, **wrong)


def examples() -> list[str]:
    return re.findall(r"```python[^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_live_example_of_the_page_works() -> None:
    _, example = examples()
    known: dict[str, Any] = {}
    exec(compile(example, str(PAGE), "exec"), known)
    assert known["tokens"].size.tolist() == [[2]]
    assert known["rest"].size.tolist() == [[1]]


def test_the_example_of_the_page_works() -> None:
    example = examples()[0]
    try:
        exec(compile(example, str(PAGE), "exec"), {})
        x = torch.zeros(2, 6, 1)
        x[0, 4:], x[1, 1:] = 3.0, 2.0
        s = TokenStream.from_features(x, torch.tensor([6, 4]), 50.0)
        out = compressors.build({"name": "loudest-steps"})(s, Budget.tokens(2)).validate()
        assert out.owner.tolist() == [[0, 0, 0, 0, 1, 1], [0, 1, 1, 1, -1, -1]]
    finally:
        compressors._classes.pop("loudest-steps", None)
