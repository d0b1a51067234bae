"""What a step reads, and what fitting leaves as it was."""

import copy
import itertools

import lightning
import pytest
import torch

from avsr.rates import Rates
from avsr.train.data import Batch, Corpus
from avsr.train.datamodule import SpeechData
from avsr.train.module import AvsrTask
from avsr.train.objective import Objective, Schedule
from avsr.views import View, task_of
from experts import MomeConfig
from tests.avsr.train.test_ddp import part


@pytest.fixture(scope="module")
def make(home):
    """A task of both modalities at two rates each, or of sound alone."""

    def task(*, lips=True, objective=None, mome=None, **settings):
        changes = {} if lips else {"video_tower": None, "video_rates": ()}
        if mome is not None:
            changes["mome"] = mome
        config = home.config(**changes)
        made = AvsrTask(config, objective or Objective(), dtype="float32", **settings)
        made.log = lambda *_, **__: None
        return made

    return task


@pytest.mark.parametrize("balance", ["paper", "bias"])
def test_an_optimiser_step_settles_what_has_no_gradient(make, balance):
    mome = MomeConfig(routed=4, top_k=2, rank=4, balance=balance)
    task = make(objective=Objective(matryoshka="all"), mome=mome)
    task.train()
    task.training_step(part([0, 1], lips=1), 0).backward()
    state = {k: v.clone() for k, v in task.model.adapter.state_dict().items()}
    task.on_before_optimizer_step(None)
    after = task.model.adapter.state_dict()
    moved = {key.split(".")[-1] for key in after if not torch.equal(after[key], state[key])}
    assert moved == ({"steer"} if balance == "bias" else set())


def pairs(views, row):
    return {(v.rates.audio, v.rates.video) for v in views if v.row == row}


def test_mode_all_reads_every_rate_pair_of_every_task(make):
    task = make(objective=Objective(matryoshka="all"))
    views = task.views(part([0, 1, 2], lips=2))
    sound = {(4, None), (16, None)}
    both = set(itertools.product((4, 16, None), (2, 5, None))) - {(None, None)}
    assert [pairs(views, row) for row in range(3)] == [both, both, sound]
    assert len(views) == 8 + 8 + 2


def test_mode_all_is_one_forward_of_the_llm_and_one_compression_a_rate(make, monkeypatch):
    task = make(objective=Objective(matryoshka="all"))
    seen = {"llm": [], "streams": []}
    hook = task.model.llm.model.register_forward_hook(
        lambda _, __, kw, out: seen["llm"].append(kw["inputs_embeds"].shape[0]), with_kwargs=True
    )
    multi = task.model.compressor.multi
    monkeypatch.setattr(
        task.model.compressor,
        "multi",
        lambda s, budgets, guide: seen["streams"].append(len(budgets)) or multi(s, budgets, guide),
    )
    task.train()
    loss = task.training_step(part([0, 1, 2], lips=2), 0)
    hook.remove()
    assert seen == {"llm": [18], "streams": [2, 2]}  # each modality once, at both of its rates
    loss.backward()
    grads = [p.grad for p in task.model.multi_modal_projector.parameters()]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)


def test_mode_sample_draws_one_pair_a_batch_from_seed_and_batch_alone(make):
    objective = Objective(matryoshka="sample")
    task, again, other = (make(objective=objective, seed=s) for s in (1, 1, 2))

    def draws(task):
        return [task.views(part([0, 1], lips=2, draw=d)) for d in range(40)]

    found = draws(task)
    assert all(len(views) == 2 and len({v.rates for v in views}) == 1 for views in found)
    assert draws(task) == found == draws(again) != draws(other)
    kinds = {(v[0].rates.audio, v[0].rates.video) for v in found}
    assert len(kinds) == 8  # every pair comes up


def test_a_clip_without_lips_is_read_by_sound_where_that_is_wanted(make):
    objective = Objective(
        tasks={"v": 1.0, "av": 1.0, "a": 0.1}, rate_weights=(0.0, 1.0), pair_weights={"none,5": 0}
    )
    tasks = set()
    for draw in range(16):
        views = make_once(make, objective).views(part([0, 1], lips=1, draw=draw))
        assert views[1].rates == Rates(16, None)  # as its weights say, also beside lips alone
        tasks.add(task_of(views[0].rates))
    assert {"v", "av"} <= tasks
    objective = Objective(tasks={"v": 1.0, "av": 1.0})
    for draw in range(8):
        [view] = make_once(make, objective).views(part([0, 1], lips=1, draw=draw))
        assert view.row == 0
        assert view.rates.video is not None
        assert make_once(make, objective).views(part([0, 1], lips=0, draw=draw)) == []


def make_once(make, objective, kept={}):  # noqa: B006
    return kept.setdefault(id(objective), make(objective=objective))


def test_rate_weights_choose_the_rate(make):
    task = make(objective=Objective(tasks={"a": 1.0}, rate_weights=(0.0, 1.0)))
    drawn = {task.views(part([0], 0, draw=d))[0].rates.audio for d in range(20)}
    assert drawn == {16}


def test_batches_without_lips_have_rate_weights_of_their_own(make):
    weights = {"rate_weights": (0.0, 1.0), "sound_rate_weights": (1.0, 0.0)}
    task = make(objective=Objective(tasks={"a": 1.0}, **weights))
    for lips, rate in ((0, 4), (2, 16)):
        drawn = {task.views(part([0, 1], lips, draw=d))[0].rates.audio for d in range(20)}
        assert drawn == {rate}


def test_misled_swaps_lips_of_audio_visual_views_alone(make):
    task = make(objective=Objective(misled=0.5))
    moved = 0
    for draw in range(6):
        batch = part(list(range(5)), lips=5, draw=draw)
        lips_alone = [View(row, Rates(None, 2)) for row in range(5)]
        assert task._misled(batch, lips_alone) == batch.features
        views = [View(row, Rates(4, 2)) for row in range(5)]
        found, again = task._misled(batch, views), task._misled(batch, views)
        own, seen = batch.features.video, found.video
        assert torch.equal(again.video.x, seen.x)
        assert torch.equal(found.audio.x, batch.features.audio.x)
        for row in range(5):
            source = row if torch.equal(seen.x[row], own.x[row]) else (row + 1) % 5
            moved += source != row
            assert torch.equal(seen.x[row], own.x[source])
            assert seen.lengths[row] == own.lengths[source]
    assert 0 < moved < 30


def test_slips_are_read_and_not_learned(make):
    """Some of the words so far are others of the batch; what must be said is what was said."""
    task = make(objective=Objective(slips=0.3))
    batch = part(list(range(5)), lips=0, draw=3)
    slipped, again = task._slipped(batch), task._slipped(batch)
    every = set(torch.cat(list(batch.texts)).tolist())
    wrong = total = 0
    for text, read, twice in zip(batch.texts, slipped, again, strict=True):
        assert torch.equal(read, twice)
        assert set(read.tolist()) <= every
        wrong, total = wrong + int((read != text).sum()), total + len(text)
    assert 0 < wrong < 0.5 * total
    views = [View(row, Rates(4, None)) for row in range(5)]
    plain = task.model.sequences(batch.features, views, batch.texts)
    taught = task.model.sequences(batch.features, views, batch.texts, slipped)
    assert torch.equal(plain.labels, taught.labels)
    assert not torch.equal(plain.embeds, taught.embeds)
    assert make(objective=Objective())._slipped(batch) is batch.texts


class Watch(lightning.Callback):
    """Modes and epochs seen inside fit."""

    def __init__(self):
        self.modes, self.validated, self.clips = set(), [], []

    def on_train_batch_start(self, trainer, pl_module, batch: Batch, batch_idx):
        tower = trainer.datamodule.store().audio_tower
        self.modes.add((pl_module.training, pl_module.model.llm.training, tower.training))
        self.clips.append([item.id for item in batch.items])

    def on_validation_end(self, trainer, pl_module):
        self.validated.append(sum(map(len, pl_module._said.values())))


@pytest.fixture(scope="module")
def fitted(home, make, tmp_path_factory):
    """A run of three epochs, and copies of what it may not change."""
    task = make(lips=False, objective=Objective(tasks={"a": 1.0}), schedule=Schedule(lr=0.01))
    del task.log
    corpus = Corpus(str(home.manifest), ("tones",))
    data = SpeechData(
        [corpus],
        [corpus],
        str(home.llm),
        str(home.whisper),
        cache=str(home.folder / "features"),
        batch_seconds=1.6,
        max_clips=3,
    )
    frozen = {"llm": task.model.llm, "tower": data.store().audio_tower}
    before = copy.deepcopy({k: m.state_dict() for k, m in frozen.items()})
    trained = copy.deepcopy(task.state_dict())
    watch = Watch()
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path_factory.mktemp("fit"),
    )
    trainer.fit(task, data)
    return task, frozen, before, trained, watch, trainer


def test_what_is_frozen_is_bit_equal_after_fitting_and_the_rest_is_not(fitted):
    task, frozen, before, trained, _, _ = fitted
    for name, module in frozen.items():
        state = module.state_dict()
        assert all(torch.equal(state[k], v) for k, v in before[name].items())
        assert not any(p.requires_grad for p in module.parameters())
    state = task.state_dict()
    assert not any(key.startswith("model.llm") for key in state)
    assert all(not torch.equal(state[k], v) for k, v in trained.items() if "markers" in k)
    assert sum(not torch.equal(state[k], v) for k, v in trained.items()) > 5


def test_what_is_frozen_stays_in_eval_mode_inside_fit(fitted):
    assert fitted[4].modes == {(True, False, False)}


def test_no_epoch_is_empty_and_each_is_validated_on_all_its_clips(fitted):
    _, _, _, _, watch, trainer = fitted
    length = trainer.num_training_batches
    assert trainer.global_step == len(watch.clips) == 3 * length
    assert sorted(itertools.chain.from_iterable(watch.clips[:length])) == sorted(
        f"train{k}" for k in range(14)
    )
    # Before fitting Lightning tries the first two validation batches; then three clips at 2 rates.
    assert watch.validated[-3:] == [6, 6, 6]


def test_the_learning_rate_warms_up_and_falls_to_its_floor():
    schedule = Schedule(warmup=10, steps=100, floor=0.05)
    shares = [schedule.at(step) for step in range(121)]
    assert shares[0] == pytest.approx(0.1)
    assert shares.index(max(shares)) == 9
    assert all(a >= b for a, b in itertools.pairwise(shares[9:]))
    assert shares[100:] == pytest.approx([0.05] * 21)


def test_a_ctc_loss_needs_a_vocabulary(make):
    with pytest.raises(ValueError, match="transcripts"):
        make(objective=Objective(ctc=0.3, ctc_rates=("audio_4",)))
