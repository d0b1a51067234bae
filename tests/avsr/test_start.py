"""A training starts from parts of checkpoints: by name, by rate, by rate pair, or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avsr.errors import ModelError
from avsr.start import Start, take_over
from experts import LoraConfig, MomeConfig, Row
from tests.tiny import awaken, tiny_model

PREFIX = "multi_modal_projector."
SIZES = {"lora": LoraConfig(rank=2, alpha=4), "mome": MomeConfig(routed=4, top_k=2, rank=3)}
OWN = {"mtsk-ss": {}, "mtsk-mss": {}, "mome": {"routers": "scale", "balance": "bias"}}


def made(seed=0, audio=(4, 16), video=(2, 5), **changes):
    """A model with random weights."""
    model = tiny_model(seed=seed, audio_rates=audio, video_rates=video, **{**SIZES, **changes})
    return awaken(model, seed=seed)


def start(model, name="one"):
    return Start(Path(name), model.config, model.state_dict())


def test_all_is_taken_over_from_a_model_of_the_same_sizes():
    old, new = made(), made(seed=1)
    assert take_over(new, [start(old)]) == []
    assert all(torch.equal(v, new.state_dict()[k]) for k, v in old.state_dict().items())


def test_new_rates_start_from_their_nearest():
    old, new = made(audio=(4,), video=(2,)), made(seed=1)
    assert take_over(new, [start(old)]) == []
    for fresh, near in (("audio_16", "audio_4"), ("video_5", "video_2")):
        for name, tensor in old.state_dict().items():
            if name.startswith(f"{PREFIX}{near}."):
                assert torch.equal(new.state_dict()[name.replace(near, fresh)], tensor)


def test_a_shared_projector_starts_from_a_trained_one_and_gives_itself_on():
    """From a model with one projector a rate to one with one a modality, and back."""
    old = made()
    per = replace(old.config.projector, per="modality")
    shared, again = made(seed=1, projector=per), made(seed=2)
    take_over(shared, [start(old)])
    with torch.no_grad():
        shared.multi_modal_projector["audio"].gain.fill_(7.0)
    for name, tensor in old.multi_modal_projector["audio_4"].named_parameters():
        if name != "gain":
            assert torch.equal(shared.multi_modal_projector["audio"].get_parameter(name), tensor)
    take_over(again, [start(shared)])
    state = again.state_dict()
    assert state[f"{PREFIX}audio_4.gain"] == state[f"{PREFIX}audio_16.gain"] == 7.0


@pytest.mark.parametrize("method", OWN)
@pytest.mark.parametrize("audio", [(4, 16), (16, 20), (4, 8, 16), (16,)])
def test_weights_of_a_rate_pair_go_to_the_same_or_the_nearest_pair(method, audio):
    old = made(method=method, settings=OWN[method])
    new = made(seed=1, audio=audio, method=method, settings=OWN[method])
    assert take_over(new, [start(old)]) == []
    assert torch.equal(old.prompter.markers, new.prompter.markers)
    near = {4: 4, 8: 4, 16: 16, 20: 16, None: None}
    state, before = new.state_dict(), old.state_dict()
    names = [n for n in state if n.startswith(f"{method}.") and new.adapter.kept_by_scale(n)]
    assert names
    for name in names:
        parts = state[name].unflatten(0, (len(new.config.scales), -1))
        known = before[name].unflatten(0, (len(old.config.scales), -1))
        for row, part in zip(new.config.scales, parts, strict=True):
            source = old.config.scales.index(Row(near[row.audio], row.video))
            assert torch.equal(part, known[source]), (name, row)


def test_a_task_that_none_has_begins_anew_and_later_ones_win():
    sound, lips = made(video=(), method="mtsk-ss"), made(seed=3, audio=(), method="mtsk-ss")
    new = made(seed=1, method="mtsk-ss")
    fresh = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    found = take_over(new, [start(sound), start(lips)])
    assert found == [f"mtsk-ss at a{a}v{v}" for a in (16, 4) for v in (2, 5)]
    name = "mtsk-ss.layers.0.up.scale"
    state, rows = new.state_dict()[name], new.config.scales
    assert torch.equal(state[rows.index(Row(16, None))], sound.state_dict()[name][1])
    assert torch.equal(state[rows.index(Row(None, 5))], lips.state_dict()[name][1])
    both = rows.index(Row(4, 2))
    assert torch.equal(state[both], fresh[name][both])
    assert torch.equal(new.prompter.markers, lips.prompter.markers)


def test_what_stays_fresh_is_named():
    old, new = made(mome=MomeConfig(routed=6, top_k=2, rank=3)), made(seed=1)
    assert take_over(new, [start(old)]) == ["mome"]


def test_a_checkpoint_of_which_nothing_fits_is_refused():
    new = made()
    other = Start(Path("llm"), new.config, {"model.embed_tokens.weight": torch.ones(3, 4)})
    with pytest.raises(ModelError, match=r"nothing of it fits.*llm"):
        take_over(new, [start(made(seed=1)), other])


def test_folders_without_a_model_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no readable config\.json"):
        Start.read(tmp_path / "gone")
    (tmp_path / "config.json").write_text('{"avsr_format": 1, "model": {}}')
    with pytest.raises(ModelError, match="cannot start from it"):
        Start.read(tmp_path)
