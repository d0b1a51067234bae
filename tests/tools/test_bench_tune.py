"""Tuning to a method, and the split of time, on a recogniser of random weights."""

import pytest
import torch

from avsr.api import Recogniser
from avsr.ctc import EmbeddingCtc
from avsr.prepare import Prepared
from avsr.rates import Rates
from tests.tiny import AUDIO_WIDTH, VIDEO_WIDTH, awaken, tiny_features, tiny_model


class FakeTower(torch.nn.Module):
    """A matrix product, and so many features as there were given."""

    hz = 50.0

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.layer = torch.nn.Linear(4, width)

    def forward(self, x, lengths):
        return self.layer(torch.zeros(len(x), 40, 4)), torch.full((len(x),), 40)


@pytest.fixture
def recogniser():
    weights = {"audio_4": 0.3}
    model = tiny_model(audio_rates=(4, 16), video_rates=(2, 5), ctc_weights=weights)
    awaken(model.mome)
    model.requires_grad_(False)  # as it is loaded
    table = model.llm.get_input_embeddings().weight
    video = FakeTower(VIDEO_WIDTH)
    video.hz = 25.0
    return Recogniser(
        model, FakeTower(AUDIO_WIDTH), video, {}, alignment=EmbeddingCtc(table, [98, 105, 110])
    )


def take():
    features = tiny_features((42,))
    sound, lips = features.audio.x[0], features.video.x[0]
    return Prepared("x.mp4", 0.84, "av", None, None, None, (), {}, sound, lips)


def state(recogniser):
    return {name: tensor.clone() for name, tensor in recogniser.model.state_dict().items()}


@pytest.mark.parametrize("name", ["pool", "conv", "cif"])
def test_a_model_is_tuned_the_same_twice_and_the_method_with_it(tool, recogniser, name):
    bench = tool("bench_tune")
    before, found, losses = state(recogniser), [], []
    for _ in range(2):
        recogniser.model.load_state_dict(before, strict=False)
        bench.refitted(recogniser, {"name": name})
        bench.tune(
            recogniser,
            [(take(), "bin")] * 2,
            steps=2,
            seed=3,
            each=lambda step, loss: losses.append(loss),
        )
        found.append(state(recogniser))
    assert losses[:2] == losses[2:]
    assert found[0].keys() == found[1].keys()
    for key, tensor in found[0].items():
        assert torch.equal(tensor, found[1][key]), key
    own = [key for key in found[0] if key.startswith("compressors")]
    assert bool(own) == (name != "pool")
    moved = [key for key in before if not torch.equal(before[key], found[0][key])]
    assert any(key.startswith("multi_modal_projector") for key in moved)
    assert not recogniser.model.training


def test_wider_tokens_are_refused(tool, recogniser):
    with pytest.raises(ValueError, match="too narrow"):
        tool("bench_tune").refitted(recogniser, {"name": "stack"})


def test_every_stage_is_timed_and_counted(tool, recogniser, monkeypatch):
    speed = tool("bench_speed")
    monkeypatch.setattr(speed, "timed", lambda work: [0.0, float(work() is not None), 1.0])
    raw = Prepared("x.mp4", 0.84, "av", torch.zeros(9).numpy(), torch.zeros(9).numpy(), 1.0, ())
    found = speed.stages(recogniser, raw, take(), Rates(4, 2))
    assert list(found["seconds"]) == list(speed.STAGES)
    assert found["tokens"] == {"audio": 11, "video": 11}
    macs = found["macs"]
    assert macs["sound tower"] == 40 * 4 * AUDIO_WIDTH
    assert macs["whole text"] > macs["prefill"] > macs["projector"] > 0
    assert macs["compressor"] == 0
