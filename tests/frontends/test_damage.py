"""Damage by one vocabulary: at its level, the same for everyone, refused where it is none."""

import json
import os

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from frontends.damage import KINDS, Damage
from frontends.damage_kind import spans
from frontends.errors import AvsrError
from frontends.noise import measured_snr
from frontends.recordings import Recordings

RATE = 16_000


def speech(seconds=1.0, hz=220.0):
    time = np.arange(int(seconds * RATE)) / RATE
    quiet = abs(time / seconds - 0.5) < 0.2
    wave = 0.2 * np.sin(2 * np.pi * hz * time)
    return np.where(quiet, 0, wave).astype(np.float32)


def crops(frames=50):
    return np.random.default_rng(0).integers(1, 256, (frames, 96, 96), dtype=np.uint8)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Folders of noise and of six talkers, a room, and a manifest."""
    home = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(1)
    rooms = np.zeros(4000)
    rooms[300], rooms[301:] = 1.0, 0.1 * rng.normal(size=3699) * np.exp(-np.arange(3699) / 500)
    files = {
        "noise/a": rng.normal(0, 0.1, 3 * RATE),
        "noise/deep/b": rng.normal(0, 0.01, RATE // 2),
        "silent/z": np.zeros(RATE),
        "rooms/r": rooms,
        **{f"talkers/t{k}": speech(0.5, 150.0 + 40 * k) for k in range(6)},
    }
    for name, wave in files.items():
        path = home / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, RATE, subtype="FLOAT")
    rows = [
        {"audio_filepath": "noise/a.wav", "split": "train", "kind": "music"},
        {"audio_filepath": "noise/deep/b.wav", "split": "test", "kind": "wind"},
    ]
    (home / "noise" / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (home / "empty").mkdir()
    return home


def test_recordings_of_a_folder_and_of_a_manifest(sounds):
    assert [p.stem for p in Recordings(sounds / "noise").paths] == ["a", "b"]
    manifest = sounds / "noise" / "manifest.jsonl"
    assert [p.stem for p in Recordings(manifest).paths] == ["a", "b"]
    assert [p.stem for p in Recordings(manifest, split="test").paths] == ["b"]
    assert [p.stem for p in Recordings(manifest, of="music").paths] == ["a"]
    assert len(Recordings(manifest, of="wind").read(0)) == RATE // 2
    rng = np.random.default_rng(0)
    assert len(Recordings(sounds / "noise").draw(rng, 5)) == 2
    assert len(Recordings(sounds / "noise").draw(rng, 5, but="a")[0]) == RATE // 2


@pytest.mark.parametrize(
    ("source", "split", "said"),
    [
        ("none", "", "no such folder"),
        ("empty", "", "no sound files"),
        ("noise", "test", "neither splits"),
        ("noise/manifest.jsonl", "x", "no sound files"),
        ("noise/a.wav", "", "not a manifest"),
    ],
)
def test_places_without_sound_are_refused(sounds, source, split, said):
    with pytest.raises(AvsrError, match=said):
        Recordings(sounds / source, split=split)


@pytest.mark.parametrize("snr", [-10, -0.0, 0, 0.5, 20.0])
@pytest.mark.parametrize("kind", ["noise", "babble", "music"])
def test_noise_has_the_level_that_was_asked_for(sounds, snr, kind):
    source = "talkers" if kind == "babble" else "noise"
    damage = Damage([{"kind": kind, "source": source, "snr_db": snr}], folder=sounds)
    clean = speech()
    for clip in ("a/1", "a/2"):
        noisy = damage.sound(clean, clip)
        assert noisy.dtype == np.float32
        assert noisy.shape == clean.shape
        assert measured_snr(clean, noisy - clean) == pytest.approx(snr, abs=0.1)


def test_two_noises_have_each_their_level_to_the_speech(sounds):
    one = {"kind": "noise", "source": "noise", "snr_db": 0}
    two = {"kind": "babble", "source": "talkers", "snr_db": 10, "talkers": 2}
    clean = speech()
    first = Damage([one], folder=sounds).sound(clean, "c") - clean
    both = Damage([one, two], folder=sounds).sound(clean, "c") - clean
    assert measured_snr(clean, first) == pytest.approx(0.0, abs=0.1)
    assert measured_snr(clean, both - first) == pytest.approx(10.0, abs=0.1)


def test_levels_are_drawn_and_null_is_clean(sounds):
    levels = [-5, 5, None]
    step = {"kind": "noise", "source": str(sounds / "noise"), "levels": levels}
    clean = speech()
    found = set()
    for k in range(30):
        noise = Damage([step]).sound(clean, f"clip{k}") - clean
        found.add(round(measured_snr(clean, noise)) if noise.any() else None)
    assert found == set(levels)


def test_babble_does_not_contain_the_clip_itself(sounds):
    step = {"kind": "babble", "source": "talkers", "talkers": 5, "snr_db": 0}
    Damage([step], folder=sounds).sound(speech(), "t0")
    with pytest.raises(AvsrError, match="5 speeches for 6"):
        Damage([{**step, "talkers": 6}], folder=sounds).sound(speech(), "corpus/t0")
    Damage([{**step, "talkers": 6}], folder=sounds).sound(speech(), "corpus/t9")


def test_a_room_keeps_the_time_and_the_power_of_speech(sounds):
    clean = np.zeros(RATE, np.float32)
    clean[4000] = 0.5
    wet = Damage([{"kind": "room", "source": "rooms"}], folder=sounds).sound(clean, "c")
    assert int(np.argmax(np.abs(wet))) == 4000
    assert np.mean(np.square(wet)) == pytest.approx(np.mean(np.square(clean)), rel=1e-3)
    assert wet[4001:6000].any()


def test_noise_in_a_room_is_measured_over_the_speech_in_the_room(sounds):
    room = {"kind": "room", "source": "rooms"}
    noise = {"kind": "noise", "source": "noise", "snr_db": 3}
    wet = Damage([room], folder=sounds).sound(speech(), "c")
    noisy = Damage([room, noise], folder=sounds).sound(speech(), "c")
    assert measured_snr(wet, noisy - wet) == pytest.approx(3.0, abs=0.1)


def test_silent_recordings_are_refused(sounds):
    for kind in ({"kind": "noise", "snr_db": 0}, {"kind": "room"}):
        with pytest.raises(AvsrError, match="silent"):
            Damage([{**kind, "source": "silent"}], folder=sounds).sound(speech(), "c")


def every(sounds):
    """One of each kind, as YAML would give it."""
    sources = {"room": "rooms", "babble": "talkers", "speech": "talkers"}
    steps = []
    for name, kind in KINDS.items():
        step = {"kind": name, "chance": 0.8}
        if "source" in kind.__dataclass_fields__:
            step["source"] = str(sounds / sources.get(name, "noise"))
        if "snr_db" in kind.__dataclass_fields__:
            step["snr_db"] = [0, 10]
        steps.append(step)
    return steps


def test_a_clip_meets_the_same_whatever_else_is_in_the_list(sounds):
    steps, wave, mouth = every(sounds), speech(), crops()
    first, again = Damage(steps, seed=3), Damage(steps, seed=3)
    again.sound(wave, "other")
    assert np.array_equal(first.sound(wave, "c"), again.sound(wave, "c"))
    assert np.array_equal(first.lips(mouth, "c"), again.lips(mouth, "c"))
    assert not np.array_equal(first.sound(wave, "c"), first.sound(wave, "d"))
    assert not np.array_equal(first.lips(mouth, "c"), Damage(steps, seed=4).lips(mouth, "c"))
    assert np.array_equal(wave, speech())
    assert np.array_equal(mouth, crops())
    assert first.key("sound") == again.key("sound") != Damage(steps, seed=4).key("sound")
    assert first.key("lips") == Damage(steps, seed=3).key("lips") != first.key("sound")


def test_sound_leaves_lips_alone_and_the_other_way_round(sounds):
    noise = Damage([{"kind": "noise", "source": str(sounds / "noise"), "snr_db": 0}])
    blur = Damage([{"kind": "blur", "sigma": 3}])
    assert np.array_equal(noise.lips(crops(), "c"), crops())
    assert np.array_equal(blur.sound(speech(), "c"), speech())
    assert (noise.touches("sound"), noise.touches("lips")) == (True, False)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 120), st.floats(0, 1), st.integers(1, 40), st.integers(0, 99))
def test_a_share_of_the_frames_is_that_share(frames, share, longest, seed):
    chosen = spans(frames, share, longest, np.random.default_rng(seed))
    assert chosen.sum() == round(share * frames)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(k for k in KINDS if k not in ("noise",))), st.integers(0, 6))
def test_every_kind_of_lip_damage_keeps_the_shape(name, frames):
    from frontends.lip_damage import LIPS

    if name in LIPS:
        made = Damage([{"kind": name, "chance": 1.0}]).lips(crops(frames), "c")
        assert made.shape == (frames, 96, 96)
        assert made.dtype == np.uint8


def lips(**step):
    return Damage([{"chance": 1.0, **step}]).lips(crops(), "c")


def test_each_kind_does_what_its_name_says():
    whole = crops()
    black = (lips(kind="missing_frames", share=0.4) == 0).all(axis=(1, 2))
    assert black.sum() == 20
    frozen = lips(kind="frozen_frames", share=0.4)
    assert (frozen[1:] == frozen[:-1]).all(axis=(1, 2)).sum() in (19, 20)
    assert np.array_equal(frozen[0], whole[0])
    changed = (lips(kind="occlusion", share=1.0, side=30) != whole).any(axis=0)
    assert changed.sum() <= 900
    assert changed.any(axis=0).sum() == changed.any(axis=1).sum() == 30
    late = lips(kind="lip_offset", seconds=0.2)
    assert np.array_equal(late[5:], whole[:-5])
    assert np.array_equal(late[:5], np.repeat(whole[:1], 5, axis=0))
    early = lips(kind="lip_offset", seconds=-0.2)
    assert np.array_equal(early[:-5], whole[5:])
    assert np.array_equal(lips(kind="flip"), whole[:, :, ::-1])
    assert np.std(lips(kind="blur", sigma=3)) < 0.3 * np.std(whole)
    coarse = lips(kind="low_resolution", side=8)
    assert np.std(coarse) < 0.3 * np.std(whole)
    assert lips(kind="low_resolution", side=96).tolist() == whole.tolist()
    moved = lips(kind="shift", pixels=4)
    assert any(
        np.array_equal(moved[:, 8:-8, 8:-8], np.roll(whole, (y, x), (1, 2))[:, 8:-8, 8:-8])
        for y in range(-4, 5)
        for x in range(-4, 5)
    )


def test_masks_silence_and_blacken_a_share():
    wave = np.full(20 * RATE, 0.5, np.float32)
    masked = Damage([{"kind": "sound_mask"}]).sound(wave, "c")
    assert 0.05 < np.mean(masked == 0) < 0.35  # 20 spans of 0 to 0.4 s in 20 s
    black = (Damage([{"kind": "lip_mask"}]).lips(crops(500), "c") == 0).all(axis=(1, 2))
    assert 0.05 < black.mean() < 0.35


WRONG = {
    "no such kind": [{"kind": "nois"}],
    "is a list": {"kind": "blur"},
    "unknown 'sigmas'": [{"kind": "blur", "sigmas": 1}],
    "no 'source'": [{"kind": "room"}],
    "snr_db or levels": [{"kind": "noise", "source": "x"}],
    "an SNR must": [{"kind": "noise", "source": "x", "snr_db": float("nan")}],
    "talkers must": [{"kind": "babble", "source": "x", "snr_db": 0, "talkers": 0}],
    "share must": [{"kind": "missing_frames", "share": 1.5}],
    "must rise": [{"kind": "blur", "sigma": [3, 1]}],
    "chance must": [{"kind": "flip", "chance": 0}],
    "kind 'blur'": [{"kind": "blur", "sigma": "wide"}],
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_no_damage_is_refused(said):
    with pytest.raises(AvsrError, match=said):
        Damage(WRONG[said])


def test_a_file_of_damage(sounds, tmp_path):
    path = tmp_path / "damage.yaml"
    path.write_text("damage:\n  - {kind: noise, source: noise, snr_db: 0}\n  - {kind: flip}\n")
    os.symlink(sounds / "noise", tmp_path / "noise")
    damage = Damage.from_file(path, seed=2)
    assert damage.sound(speech(), "c").shape == (RATE,)
    assert damage.to_dict()["seed"] == 2
    assert json.loads(json.dumps(damage.to_dict()))["damage"][1] == {"kind": "flip"}
    path.write_text("damage: [\n")
    for broken in (path, tmp_path / "none.yaml"):
        with pytest.raises(AvsrError, match="cannot read the damage"):
            Damage.from_file(broken)
