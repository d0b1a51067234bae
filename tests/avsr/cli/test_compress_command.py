"""`avsr compress ls` lists what the cards say."""

import json
from typing import get_args

import pytest

from avsr.budget import BudgetKind
from avsr.cli import compress, main
from avsr.compress import compressors
from avsr.compress.base import Mechanism
from avsr.compress.presets import PRESETS


def test_all_methods_and_presets_are_listed(capsys):
    assert main(["compress", "ls"]) == 0
    words = capsys.readouterr().out.split()
    assert set(compressors) <= set(words)
    assert set(PRESETS) <= set(words)


@pytest.mark.parametrize(
    ("flags", "holds"),
    [
        (["--mechanism", "similarity"], lambda card: card.mechanism == "similarity"),
        (["--streaming"], lambda card: card.causal),
        (["--budget", "threshold"], lambda card: "threshold" in card.budgets),
        (["--untrained"], lambda card: card.foreign == "warns"),
        (
            ["--untrained", "--streaming", "--budget", "tokens"],
            lambda card: card.foreign == "warns" and card.causal and "tokens" in card.budgets,
        ),
    ],
)
def test_the_list_is_cut_by_what_cards_say(flags, holds, capsys):
    assert main(["compress", "ls", "--json", *flags]) == 0
    told = [card["name"] for card in json.loads(capsys.readouterr().out)]
    assert sorted(told) == sorted(n for n in compressors if holds(compressors[n].card))
    assert 0 < len(told) < len(list(compressors))


def test_the_choices_are_those_of_the_cards():
    assert get_args(Mechanism) == compress._MECHANISMS
    assert get_args(BudgetKind) == compress._BUDGETS


def test_another_word_is_wrong_usage(capsys):
    assert main(["compress", "rm"]) == 2
    assert main(["compress", "ls", "--mechanism", "magic"]) == 2
