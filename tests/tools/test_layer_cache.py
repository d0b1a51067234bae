"""A cache of a tower's layers: what it must leave equal, and what it computes again."""

import json

import pytest
import torch

from frontends.audio_tower import WhisperShape, WhisperTower

SHAPE = WhisperShape(
    d_model=32, encoder_layers=3, encoder_attention_heads=4, encoder_ffn_dim=64, num_mel_bins=80
)
ENDS = (8_000, 16_000, 20_000, 26_000, 30_000, 38_000, 40_000)


@pytest.fixture(params=["none", "30s"])
def tower(request):
    torch.manual_seed(0)
    tower = WhisperTower(SHAPE, pad=request.param)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.mul_(2)  # so that attention matters
    return tower


@pytest.fixture
def wave():
    return 0.1 * torch.randn(40_000, generator=torch.Generator().manual_seed(1))


def both(tool, tower, wave, policy, ends=None):
    """How far cached passes are from whole ones, and the cache; few passes where each has 30 s."""
    ends = (ENDS if tower.pad == "none" else ENDS[:3]) if ends is None else ends
    cache = tool("layer_cache").LayerCache(tower, policy)
    with torch.inference_mode():
        whole = [tool("layer_cache").whole_pass(tower, wave[:end]) for end in ends]
        with cache.caching() as encode:
            made = [encode(wave[:end]) for end in ends]
    spoken = [-(-end // 320) for end in ends]
    near = [
        (w[:n] - m[:n]).abs().mean().item() for w, m, n in zip(whole, made, spoken, strict=True)
    ]
    return near, cache


def test_what_is_computed_whole_is_the_plain_pass(tool, tower, wave):
    near, cache = both(tool, tower, wave, tool("layer_cache").Policy(every=1, share=0.1))
    assert near == [0.0] * len(near)
    assert all(tally.shared == 0 and tally.work == tally.full for tally in cache.tallies)


def test_all_frames_computed_again_are_the_plain_pass(tool, tower, wave):
    near, cache = both(tool, tower, wave, tool("layer_cache").Policy(share=1.0))
    if tower.pad == "none":  # else the silence behind the sound is an earlier pass's
        assert max(near) < 1e-5
    assert all(tally.shared > 0 and tally.reused == 0 for tally in cache.tallies)


def test_the_same_sound_again_is_equal_whatever_is_computed(tool, tower, wave):
    for policy in (tool("layer_cache").Policy(share=0.1), tool("layer_cache").Policy()):
        near, _ = both(tool, tower, wave, policy, (16_000, 16_000))
        assert max(near) < 1e-5


def test_the_error_falls_with_what_is_computed(tool, tower, wave):
    policy = tool("layer_cache").Policy
    errors = [sum(both(tool, tower, wave, policy(share=s))[0]) for s in (0.1, 0.5, 1.0)]
    assert errors[0] > errors[1] > errors[2]


def test_a_whole_pass_sets_the_error_to_nought(tool, tower, wave):
    near, _ = both(tool, tower, wave, tool("layer_cache").Policy(every=3, share=0.1))
    # The second and fourth have grown by more than half; else one of three is whole.
    whole = [True, True, False, True, False, False, True]
    assert [error == 0.0 for error in near] == whole[: len(near)]


def test_the_tower_is_as_it_was_even_after_a_failure(tool, tower, wave):
    cache = tool("layer_cache").LayerCache(tower, tool("layer_cache").Policy())
    with pytest.raises(TypeError), cache.caching() as encode:
        encode(None)
    assert all("forward" not in vars(layer) for layer in tower.layers)
    with cache.caching(), pytest.raises(ValueError, match="one recording"):
        tower(wave[None].repeat(2, 1), torch.tensor([40_000, 40_000]))


def test_just_the_frames_that_moved_are_chosen(tool):
    similar = torch.tensor([0.99, 0.2, 0.9, 0.84, 1.0])
    policy = tool("layer_cache").Policy
    assert policy().moved(similar).tolist() == [1, 3]
    assert policy(share=0.4).moved(similar).tolist() == [1, 3]
    assert policy(share=0.01).moved(similar).tolist() == [1]
    assert policy(threshold=0.1).moved(similar).tolist() == []
    assert policy().moved(torch.zeros(0)).tolist() == []


def test_the_bench_counts_passes_hits_and_errors(tool, tower, wave):
    bench, policy = tool("bench_layer_cache"), tool("layer_cache").Policy
    assert bench.passes(40_000, 1.0) == [16_000, 32_000, 40_000]
    assert bench.passes(16_000, 1.0) == [16_000]
    waves = [wave[:24_000], wave[:20_000]]
    whole = bench.memory(tower, waves)
    found = bench.measured(
        tower, lambda x, s: f"{len(x)} {s}", waves, policy(share=0.25), 0.5, whole
    )
    frames = [75, 63] if tower.pad == "none" else [1500, 1500]
    assert found["texts"] == [f"{frames[0]} 1.5", f"{frames[1]} 1.25"]
    assert 0 < found["cosine"] < 1
    assert {tally["shared"] for tally in found["layers"]} == {found["layers"][0]["shared"]}
    assert all(0.6 < t["reused"] / t["shared"] <= 0.75 for t in found["layers"])
    json.dumps(found)


def test_its_table_holds_every_case_against_whole_passes(tool, tmp_path):
    page = tool("compress_whisper")
    path = tmp_path / "layer_cache.json"
    assert page.layers(path).startswith(tool("compress_figures").NONE_YET)
    layer = {"shared": 100, "reused": 75, "work": 3.0, "full": 4.0}
    common = {"reader": "w", "hop": 0.64, "cosine": 0.9, "words": [6] * 40}
    plain = {**common, "policy": {"every": 1}, "name": "all", "layers": [], "edits": [1] * 40}
    cached = {**plain, "policy": {"every": 4}, "name": "share 0.25, whole every 4"}
    cached.update(layers=[layer, {**layer, "reused": 50}], edits=[2] * 40)
    told = {"rows": [plain, cached], "command": ["c"], "seed": 0, "clips": ["x"] * 40}
    path.write_text(json.dumps(told), encoding="utf-8")
    rows = page.layers(path).splitlines()
    assert rows[2] == "| w | all | - | - | 100 | 1 | 16.7 | - |"
    assert rows[3].startswith(
        "| w | share 0.25, whole every 4 | 0.64 | 75, 50 | 75 | 0.900 | 33.3 |"
    )
    assert "worse, +16.7" in rows[3]
