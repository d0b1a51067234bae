"""The page of compressors is made from their cards."""

import pytest


def test_the_page_is_up_to_date(tool):
    assert tool("cards").main(["--check"]) == 0


def test_a_page_that_lags_behind_is_found(tool, tmp_path, monkeypatch, capsys):
    cards = tool("cards")
    page = tmp_path / "compressors.md"
    page.write_text(cards.PAGE.read_text(encoding="utf-8").replace("`pool`", "`pol`"), "utf-8")
    monkeypatch.setattr(cards, "PAGE", page)
    assert cards.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert cards.main([]) == 0
    assert cards.main(["--check"]) == 0
    with pytest.raises(ValueError, match="no mark for taxonomy"):
        cards.filled("nothing")
