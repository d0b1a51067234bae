"""A model trained with `stack` took any method of means, and died of it inside its projectors.

`foreign` looked at the card of the method that was asked for alone. The card of the model's own
says as much: tokens that nothing else resembles are all that its projectors know.
"""

from types import SimpleNamespace

import pytest

from avsr.api import Recogniser
from avsr.compress import compressors
from avsr.compress.pair import foreign
from avsr.errors import ModelError
from tests.tiny import tiny_model

ALONE = [name for name in compressors if compressors[name].card.foreign == "refuses"]


@pytest.mark.parametrize("own", ALONE)
@pytest.mark.parametrize("asked", ["pool", "cluster", "omni-avsr", "affinity,budget"])
def test_no_method_of_means_stands_in_for_it(own: str, asked: str) -> None:
    name, budget = (asked.split(",")[0], {"threshold": 0.9})
    config = {"name": name, "budget": budget} if "," in asked else {"name": name}
    with pytest.raises(ModelError, match=f"was trained with the compressor {own!r}.*{name}"):
        foreign({"name": own}, config)
    assert foreign({"name": own}, {"name": own}) == (None, None)


def test_a_recogniser_keeps_its_own_and_may_change_the_other_stream() -> None:
    own = {"audio": {"name": "stack"}, "video": {"name": "pool"}}
    model = tiny_model(audio_rates=(4,), video_rates=(2,), compress=own)
    recogniser = Recogniser(model, SimpleNamespace(hz=50.0), SimpleNamespace(hz=25.0), {})
    before = model.compressors
    for wrong in ("cluster", "audio=cluster", "stack"):
        with pytest.raises(ModelError, match="stack"):
            recogniser.use_compressor(wrong)
        assert model.compressors is before
    recogniser.use_compressor("video=cluster")
    assert [c.card.name for c in model.compressors.values()] == ["stack", "cluster"]
