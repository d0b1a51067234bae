"""Each clip is decoded, tracked and encoded once a noise level, and every failure counts."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.errors import AvsrError, ConfigError, MediaError
from avsr.evaluate import Condition, EvalOptions, conditions, evaluate
from avsr.manifest import Item
from avsr.prepare import Prepared
from avsr.rates import Rates
from avsr.takes import Takes
from avsr.transcript import Segment, Transcript
from frontends.damage import Damage

TRAINED = {
    "a": [Rates(4, None), Rates(16, None)],
    "v": [Rates(None, 2), Rates(None, 5)],
    "av": [Rates(4, 2), Rates(4, 5), Rates(16, 2), Rates(16, 5)],
}
NOISE = np.random.default_rng(0).standard_normal(8000).astype(np.float32)


def clip(name="one", text="bin blue", duration=2.0, has_video=True):
    return Item(name, Path(f"{name}.mp4"), duration, text, has_video=has_video)


@dataclass
class FakeRecogniser:
    """Hears the first word at a coarse rate and both at a fine one; fails on clips named bad."""

    prepared: list[tuple] = field(default_factory=list)
    encoded: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    waves: list[np.ndarray] = field(default_factory=list)

    def prepare(self, path, *, modality, roi):
        self.prepared.append((Path(path).name, modality))
        if "bad" in path.name or (modality == "v" and "faceless" in path.name):
            raise MediaError("cannot be read", where=str(path))
        wave = np.sin(np.arange(32_000) / 20).astype(np.float32) if modality == "a" else None
        crops = np.zeros((50, 96, 96), np.uint8) if modality == "v" else None
        timing = {"media": 0.25, "lips": 0.5 if modality == "v" else 0.0}
        return Prepared(str(path), 2.0, modality, wave, crops, None, (), timing)

    def encode(self, clips):
        for one in clips:
            self.encoded.append(one.modality)
            one.timing["towers"] = 0.125
            if one.wave is not None:
                self.waves.append(one.wave)
                one.audio = torch.zeros(100, 4)
            if one.crops is not None:
                one.video = torch.zeros(50, 4)

    def recognise(self, clips, *, modality, rates, options):
        self.batches.append(len(clips))
        return [self._hear(one, modality, rates) for one in clips]

    def _hear(self, one, modality, rates):
        assert ("a" in modality) == (one.audio is not None)
        assert ("v" in modality) == (one.video is not None)
        text = "bin blue" if rates.audio == 4 or rates.video == 2 else "bin"
        return Transcript(
            text,
            (Segment(0, 2, text, truncated=text == "bin"),),
            tokens={"audio": 100 // (rates.audio or 101), "video": 50 // (rates.video or 51)},
            timing={**one.timing, "total": sum(one.timing.values()) + 1.0},
        )


class FakeBaseline:
    def transcribe(self, waves):
        return ["bin bleu"] * len(waves)


def test_every_task_rate_and_level_is_a_row_but_lips_hear_no_noise():
    found = conditions(TRAINED, ["a", "v", "av"], snrs=(None, 0.0), baseline=True)
    assert len(found) == 2 * 2 + 2 + 4 * 2 + 2
    assert Condition("a", Rates(4, None), 0.0) in found
    assert [c.snr for c in found if c.task == "v"] == [None, None]


def test_a_task_takes_its_part_of_a_rate_pair_once():
    asked = [Rates(4, 2), Rates(4, 5)]
    found = conditions(TRAINED, ["a", "v", "av"], rates=asked)
    assert [c.rates for c in found if c.task == "a"] == [Rates(4, None)]
    assert [c.rates for c in found if c.task == "v"] == [Rates(None, 2), Rates(None, 5)]
    assert [c.rates for c in found if c.task == "av"] == asked
    assert conditions(TRAINED, ["v"], rates=[Rates(4, None)]) == []


def test_a_pair_that_was_not_trained_is_refused_with_the_list():
    with pytest.raises(ConfigError, match=r"rates \(7,2\) were not trained.*\(4,2\), \(4,5\)"):
        conditions(TRAINED, ["av"], rates=[Rates(7, 2)])


def test_each_clip_is_decoded_and_encoded_once_whatever_the_rates():
    fake = FakeRecogniser()
    rows = evaluate(fake, [clip(), clip("two")], conditions(TRAINED, ["a", "v", "av"]))
    assert len(rows) == 8
    assert fake.prepared == [("one.mp4", "a"), ("two.mp4", "a"), ("one.mp4", "v"), ("two.mp4", "v")]
    assert fake.encoded == ["a", "a", "v", "v"]
    assert set(fake.batches) == {2}


def test_a_noise_level_costs_one_encoding_of_the_sound_and_none_of_the_lips():
    fake = FakeRecogniser()
    wanted = conditions(TRAINED, ["a", "v", "av"], snrs=(None, 0.0, -5.0))
    evaluate(fake, [clip()], wanted, noise=NOISE)
    assert fake.encoded.count("a") == 3
    assert fake.encoded.count("v") == 1


def test_noise_at_zero_db_is_noise_and_seeded_by_the_clip():
    def heard(name, seed=0):
        fake = FakeRecogniser()
        options = EvalOptions(seed=seed, samples=10)
        evaluate(
            fake, [clip(name)], [Condition("a", Rates(4, None), 0.0)], options=options, noise=NOISE
        )
        return fake.waves[0]

    clean = np.sin(np.arange(32_000) / 20)
    noise = heard("one") - clean
    assert 10 * np.log10(np.mean(clean**2) / np.mean(noise**2)) == pytest.approx(0.0, abs=0.2)
    assert np.array_equal(heard("one"), heard("one"))
    assert not np.array_equal(heard("one"), heard("two"))
    assert not np.array_equal(heard("one"), heard("one", seed=1))


def test_damage_reaches_sound_and_lips_of_its_rows_and_no_others():
    damages = {
        "both": Damage([{"kind": "sound_mask", "per_second": 5.0}, {"kind": "flip"}]),
        "sound": Damage([{"kind": "sound_mask", "per_second": 9.0}]),
    }
    fake = FakeRecogniser()
    wanted = conditions(TRAINED, ["av", "v"], rates=[Rates(4, 2)], damages=["both", "sound", None])
    rows = evaluate(fake, [clip()], wanted, options=EvalOptions(damages=damages, samples=10))
    assert [row.condition.damage for row in rows] == ["both", "sound", None] * 2
    whole = np.sin(np.arange(32_000) / 20).astype(np.float32)
    both, sound, none = fake.waves
    assert np.array_equal(both, damages["both"].sound(whole, "one"))
    assert np.array_equal(sound, damages["sound"].sound(whole, "one"))
    assert np.array_equal(none, whole)
    assert not np.array_equal(both, sound)
    assert fake.prepared == [("one.mp4", "a"), ("one.mp4", "v")]  # once, whatever it meets
    assert fake.encoded.count("v") == 2  # what harms the sound alone is the same to lips
    assert rows[0].to_dict()["damage"] == "both"
    with pytest.raises(ConfigError, match="'rain' was asked for"):
        evaluate(fake, [clip()], conditions(TRAINED, ["a"], damages=["rain"]))


def test_a_row_tells_its_confusions_and_worst_utterances():
    items = [clip("one", "bin blue"), clip("two", "set blue now")]
    (row,) = evaluate(FakeRecogniser(), items, [Condition("a", Rates(4, None))])
    told = row.to_dict(most=1)
    assert told["confusions"] == [["set", "bin", 1]]
    assert told["deletions"] == [["now", 1]]
    assert [one["id"] for one in told["worst"]] == ["two"]
    assert [(one["name"], one["utterances"]) for one in told["lengths"]] != []
    assert row.to_dict(most=0)["confusions"] == []


def test_figures_of_a_row():
    (fine, coarse) = evaluate(FakeRecogniser(), [clip()], conditions(TRAINED, ["a"]))
    assert (fine.score.wer, coarse.score.wer) == (0.0, 0.5)
    assert (fine.tokens_per_second, coarse.tokens_per_second) == (25 / 2, 6 / 2)
    assert fine.rtf == (0.25 + 0.125 + 1.0) / 2
    assert (fine.truncated, coarse.truncated) == (0, 1)
    assert fine.rtf_by_stage == {"media": 0.125, "lips": 0.0, "towers": 0.0625}
    (group,) = fine.to_dict()["lengths"]
    assert (group["name"], group["utterances"], group["wer"]) == ("0 to 5 words", 1, 0.0)
    (both,) = evaluate(FakeRecogniser(), [clip()], [Condition("av", Rates(4, 2))])
    assert both.rtf == (0.25 + 0.5 + 2 * 0.125 + 1.0) / 2
    assert both.to_dict()["hypotheses"][0]["pred_text"] == "bin blue"


def test_a_failing_clip_counts_as_nothing_heard_and_is_told():
    rows = evaluate(FakeRecogniser(), [clip(), clip("bad")], conditions(TRAINED, ["a", "av"]))
    for row in rows:
        assert row.score.words.deletions >= 2
        assert [one.item.id for one in row.failed] == ["bad"]
        assert "cannot be read" in row.failed[0].error
    assert rows[0].rtf == (0.25 + 0.125 + 1.0) / 2


def test_a_clip_without_a_face_fails_where_lips_are_read_only():
    rows = evaluate(FakeRecogniser(), [clip("faceless")], conditions(TRAINED, ["a", "v", "av"]))
    assert {row.condition.task for row in rows if row.failed} == {"v", "av"}


def test_clips_without_a_picture_stay_out_of_tasks_that_read_lips():
    items = [clip(), clip("sound", has_video=False)]
    rows = evaluate(FakeRecogniser(), items, conditions(TRAINED, ["a", "v"]))
    assert {(row.condition.task, len(row.heard)) for row in rows} == {("a", 2), ("v", 1)}
    only = evaluate(FakeRecogniser(), items[1:], conditions(TRAINED, ["v"]))
    assert only == []


def test_the_baseline_hears_the_same_noisy_sound():
    seen = []

    class Listening(FakeBaseline):
        def transcribe(self, waves):
            seen.extend(waves)
            return super().transcribe(waves)

    fake = FakeRecogniser()
    wanted = conditions(TRAINED, ["a"], rates=[Rates(4, None)], snrs=(0.0,), baseline=True)
    _, row = evaluate(fake, [clip()], wanted, noise=NOISE, baseline=Listening())
    assert np.array_equal(seen[0], fake.waves[0])
    assert (row.condition.system, row.score.wer, row.tokens_per_second) == ("whisper", 0.5, None)


def test_batches_change_nothing_and_progress_counts_clips():
    items = [clip(str(number)) for number in range(5)]
    wanted, steps = conditions(TRAINED, ["a", "av"]), []
    whole = evaluate(FakeRecogniser(), items, wanted, options=EvalOptions(samples=50))
    options = EvalOptions(samples=50, batch_size=2)
    parts = evaluate(FakeRecogniser(), items, wanted, options=options, progress=steps.append)
    assert whole == parts
    assert steps == [2, 2, 1]


def test_what_a_condition_needs_must_be_given():
    with pytest.raises(ConfigError, match="without noise"):
        evaluate(FakeRecogniser(), [clip()], [Condition("a", Rates(4, None), 0.0)])
    with pytest.raises(ConfigError, match="without a baseline"):
        evaluate(FakeRecogniser(), [clip()], [Condition("a", None, None, "whisper")])


def test_an_error_is_kept_not_met_again():
    fake = FakeRecogniser()
    takes = Takes(fake, clip("bad"))
    assert all(isinstance(takes.take("av"), AvsrError) for _ in range(3))
    assert len(fake.prepared) == 1


def test_speakers_are_drawn_together_where_told():
    items = [
        replace(clip(str(k), "bin blue" if k < 2 else "x y"), speaker="ab"[k // 2])
        for k in range(4)
    ]
    wanted = [Condition("a", Rates(4, None))]
    (row,) = evaluate(
        FakeRecogniser(), items, wanted, options=EvalOptions(samples=200, bootstrap_by="speaker")
    )
    assert row.score.wer == 0.5
    assert (row.score.wer_interval.low, row.score.wer_interval.high) == (0.0, 1.0)
