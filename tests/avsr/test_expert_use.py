"""Use of experts by one clip: positions, counts against a plain loop, and who has none."""

import xml.etree.ElementTree as ElementTree

import pytest
import torch

from avsr.errors import ModelError
from avsr.expert_use import expert_use, positions
from avsr.rates import Rates
from avsr.views import View
from experts import MomeConfig
from tests import tiny

ROUTED, TOP_K = 7, 3
TEXT = "ab c"
PAIRS = [Rates(4, None), Rates(4, 2), Rates(4, 5), Rates(16, 2), Rates(None, 5)]


def awake(**changes):
    """A recogniser of two rates a modality whose experts and routers have been trained."""
    mome = MomeConfig(routed=ROUTED, top_k=TOP_K, rank=2, **changes)
    model = tiny.tiny_model(audio_rates=(4, 16), video_rates=(2, 5), mome=mome)
    tiny.awaken(model.adapter)
    return model


@pytest.fixture(scope="module")
def model():
    return awake()


@pytest.fixture(scope="module")
def clip():
    return tiny.tiny_features((50,))


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("rates", PAIRS, ids=str)
def test_positions_hold_the_tokens_of_their_kind(kind, rates, clip):
    model = tiny.tiny_model(kind, audio_rates=(4, 16), video_rates=(2, 5))
    views = [View(0, rates)]
    ids = torch.tensor(model.tokenizer.encode(TEXT))
    row = model.sequences(clip, views, [ids]).embeds[0]
    streams = model.tokens(clip, views)
    expected = {name.split("_")[0]: stream.x[0] for name, stream in streams.items()}
    expected["text"] = model.embed(ids)
    sizes = {name: len(x) for name, x in expected.items()}
    where = positions(model, rates, sizes)
    for name, x in expected.items():
        assert torch.equal(row[where[name]], x)
    everything = torch.cat(list(where.values())).sort().values
    assert torch.equal(everything, torch.arange(len(row)))


@pytest.mark.parametrize("rates", PAIRS, ids=str)
def test_a_layer_sums_to_k_and_kinds_to_all(model, clip, rates):
    use = expert_use(model, clip, rates, TEXT)
    assert (use.routed, use.top_k) == (ROUTED, TOP_K)
    parts = [kind for kind in use.tokens if kind != "all"]
    assert use.tokens["all"] == sum(use.tokens[kind] for kind in parts)
    assert ("audio" in parts, "video" in parts) == (
        rates.audio is not None,
        rates.video is not None,
    )
    table = {kind: torch.tensor(rows) for kind, rows in use.share.items()}
    for rows in table.values():
        assert rows.shape == (2, ROUTED)
        torch.testing.assert_close(rows.sum(1), torch.full((2,), float(TOP_K)), atol=1e-3, rtol=0)
    together = sum(table[kind] * use.tokens[kind] for kind in parts) / use.tokens["all"]
    torch.testing.assert_close(table["all"], together, atol=1e-4, rtol=0)


def test_counts_are_those_of_the_routers_own_scores(model, clip):
    """The choice made again by hand from the hidden states that the first router sees."""
    rates, seen = Rates(4, 2), []
    norm = model.llm.model.layers[0].post_attention_layernorm
    if model.adapter.config.placement == "layer":
        norm = model.llm.model.layers[0].input_layernorm
    handle = norm.register_forward_hook(lambda module, args, out: seen.append(out[0]))
    use = expert_use(model, clip, rates, TEXT)
    handle.remove()
    (x,) = seen
    with torch.inference_mode():
        best = (x.float() @ model.adapter.layers[0].router.float().T).topk(TOP_K).indices
    counts = [sum(expert in row for row in best.tolist()) / len(x) for expert in range(ROUTED)]
    assert use.share["all"][0] == pytest.approx(counts, abs=1e-5)


def test_a_router_for_each_rate_pair_is_told_which(clip):
    use = expert_use(awake(routers="scale"), clip, Rates(16, 5), TEXT)
    assert use.tokens["audio"] == 4


def test_an_empty_transcript_has_no_text_to_count(model, clip):
    assert "text" not in expert_use(model, clip, Rates(4, 2), "").share


def test_the_plot_is_svg_with_a_cell_for_each_expert(model, clip):
    drawn = ElementTree.fromstring(expert_use(model, clip, Rates(4, 2), TEXT).plot("video"))
    boxes = list(drawn.iter("{http://www.w3.org/2000/svg}rect"))
    assert len(boxes) == 1 + 2 * ROUTED  # the ground, and two layers


def test_a_model_without_routers_is_refused(clip):
    lora = tiny.tiny_model(method="lora")
    with pytest.raises(ModelError, match="routes nothing"):
        expert_use(lora, clip, Rates(4, 2), TEXT)
