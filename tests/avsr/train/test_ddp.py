"""Two processes train as one does with their joint batch: same weights, however batches split.

Compared within 2e-5 of weights of size one after AdamW steps: sums run in another order. One weight
in a hundred may be 2e-4 off: where a gradient is of the size of its rounding, Adam, which divides
by that size, takes another step.
Without the balance loss, whose shares are counted on each process by itself.
"""

import pytest
import torch
import yaml
from safetensors.torch import load_file

from avsr.train.data import Batch, Joint
from avsr.train.module import AvsrTask
from avsr.train.objective import Objective
from tests.avsr.train.test_resume import fit, steps
from tests.tiny import tiny_features

TEXTS = [[4, 5], [6], [7, 8, 9], [10], [11, 3]]


def part(rows, lips, world=1, rank=0, draw=5):
    """Rows of a joint batch of which the first `lips` have a video, as one rank reads them."""
    from avsr.streams import TokenStream
    from avsr.views import Features

    shard = rows[rank::world]
    whole = tiny_features((40, 26, 33, 48, 24))
    chosen = shard or rows[:1]
    streams = []
    for kind in ("audio", "video"):
        stream = getattr(whole, kind)
        lengths = stream.lengths[chosen]
        if kind == "video":
            lengths = torch.tensor(
                [int(n) if r < lips else 0 for r, n in zip(chosen, lengths, strict=True)]
            )
        x = stream.x[chosen]
        x = torch.cat([x, x], -1)[..., : 16 if kind == "audio" else 8]
        stream = TokenStream.from_features(x, lengths, stream.hz)
        streams.append(stream if int(lengths.max()) else None)
    joint = Joint(len(rows), sum(r < lips for r in rows), len(shard), world, draw)
    texts = tuple(torch.tensor(TEXTS[row]) for row in chosen)
    return Batch((None,) * len(chosen), Features(*streams), texts, draw, joint)


@pytest.fixture(scope="module")
def config(home):
    return home.config()


def gradients(task, batches):
    """Mean gradient over processes, as DDP takes it."""
    task.zero_grad()
    for batch in batches:
        (task.training_step(batch, 0) / len(batches)).backward()
    return {n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("mode", ["all", "sample", "sample without sound"])
@pytest.mark.parametrize("lips", [0, 2, 3, 5])
@pytest.mark.parametrize(("clips", "world"), [(5, 2), (4, 2), (5, 3), (1, 2)])
def test_the_mean_over_processes_is_the_mean_over_the_joint_batch(
    home, config, mode, lips, clips, world
):
    kind, _, left_out = mode.partition(" without ")
    tasks = {"v": 0.5, "av": 0.5} if left_out else {"a": 0.3, "v": 0.3, "av": 0.4}
    rates = ("audio_4", "video_2")
    objective = Objective(kind, tasks=tasks, balance=0.0, ctc=0.3, ctc_rates=rates)
    task = AvsrTask(config, objective, vocabulary=str(home.manifest), dtype="float32")
    task.log = lambda *_, **__: None
    rows = list(range(clips))
    alone = gradients(task, [part(rows, lips)])
    shared = gradients(task, [part(rows, lips, world, rank) for rank in range(world)])
    assert alone.keys() <= shared.keys()
    for name in shared:
        truth = alone.get(name, torch.zeros(()))
        torch.testing.assert_close(
            shared[name], truth.expand_as(shared[name]), atol=1e-5, rtol=1e-4
        )
    assert any(grad.abs().max() > 1e-3 for grad in alone.values())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["all", "sample"])
def test_two_processes_train_as_one(home, mode):
    recipes = {}
    for devices in (1, 2):
        path = home.recipe(f"ddp_{mode}_{devices}", max_steps=6, limit_val_batches=0)
        recipe = yaml.safe_load(path.read_text())
        recipe["model"]["objective"] |= {"matryoshka": mode, "balance": 0.0}
        recipe["model"]["model"]["projector"]["dropout"] = 0.0
        recipe["data"]["masks"] = None
        if devices == 2:
            recipe["trainer"] |= {"devices": 2, "strategy": "ddp_find_unused_parameters_true"}
        path.write_text(yaml.safe_dump(recipe))
        done = fit(path)
        assert done.returncode == 0, done.stderr
        recipes[devices] = path
    alone, shared = steps(recipes[1]), steps(recipes[2])
    assert any(len(line["clips"]) % 2 for line in alone)  # some batches split unevenly
    for line in alone:
        both = [other for other in shared if other["step"] == line["step"]]
        assert len(both) == 2
        assert {other["draw"] for other in both} == {line["draw"]}
        assert {clip for other in both for clip in other["clips"]} == set(line["clips"])
    truth, found = (load_file(r.parent / "end.safetensors") for r in recipes.values())
    for name in truth:
        torch.testing.assert_close(found[name], truth[name], atol=2e-4, rtol=2e-4)
        near = torch.isclose(found[name], truth[name], atol=2e-5, rtol=2e-4)
        assert near.float().mean() >= 0.99, name
