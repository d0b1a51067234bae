"""Every method reads a real file inside the default model, or says why it does not."""

import pytest

from avsr.cli.demo import CLIP
from avsr.compress import compressors
from avsr.compress.presets import PRESETS
from avsr.errors import AvsrError, SetupError
from avsr.loading import load_model
from avsr.rates import Rates

pytestmark = pytest.mark.slow
RATES = Rates(16, 5)


@pytest.fixture(scope="module")
def recogniser():
    try:
        return load_model()
    except SetupError as error:
        pytest.skip(f"the default model cannot be had here: {error}")


@pytest.fixture(scope="module")
def clip(recogniser):
    return recogniser.prepare(CLIP)


@pytest.mark.parametrize("name", [n for n in compressors if compressors[n].card.foreign == "warns"])
def test_a_method_reads_a_file_at_every_budget_of_its_card(recogniser, clip, name):
    asked = {"rate": 10, "keep": 0.2, "tokens": 9, "per_second": 6, "threshold": 0.7}
    card = compressors[name].card
    for kind, value in asked.items():
        if kind not in card.budgets:
            with pytest.raises(AvsrError, match=f"takes no budget of {kind}"):
                recogniser.use_compressor(f"{name},budget={kind}:{value}")
            continue
        recogniser.use_compressor(f"{name},budget={kind}:{value}")
        (made,) = recogniser.recognise([clip], rates=RATES)
        assert any(f"budget={kind}" in w for w in made.warnings)
        if card.meets == "exactly" and kind == "tokens":
            assert (made.tokens["audio"], made.tokens["video"]) == (9, 9)


@pytest.mark.parametrize("name", [*compressors, *PRESETS, "cluster,weights=density"])
def test_a_method_reads_a_file_or_is_refused(recogniser, clip, name):
    config = PRESETS.get(name.split(",")[0], {"name": name.split(",")[0]})
    card = compressors[config["name"]].card
    unguided = config.get("by") == "received"
    if card.foreign == "refuses" or unguided:
        with pytest.raises(AvsrError):
            recogniser.use_compressor(name)
        return
    recogniser.use_compressor(name)
    (made,) = recogniser.recognise([clip], rates=RATES)
    note = [w for w in made.warnings if w.startswith("compressed by")]
    assert bool(note) == (name != "pool")
    missed = any("stands for" in w for w in made.warnings)
    assert missed or card.meets != "never"
    assert not missed or recogniser.model.compressor.meets != "exactly"
    assert made.text or card.meets == "never" or card.op == "drop"
