"""Distillation between rates against a plain loop; who teaches whom."""

import pytest
import torch
import torch.nn.functional as F

from avsr.distil import distil_loss, teachers
from avsr.rates import Rates
from avsr.train.objective import Objective
from avsr.views import View


def test_the_finest_view_of_a_clip_and_task_teaches_the_others() -> None:
    pairs = [
        (0, 16, 5),
        (0, 4, 5),
        (0, 4, 2),
        (0, 16, None),
        (1, 16, 5),
        (0, 4, None),
        (1, None, 5),
    ]
    views = [View(row, Rates(audio, video)) for row, audio, video in pairs]
    assert teachers(views) == [2, 2, 2, 5, 4, 5, 6]


def test_the_loss_is_the_divergence_of_each_pupil_and_teaches_pupils_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(11, 7, generator=generator, requires_grad=True)
    counts, taught_by = [3, 3, 2, 3], [1, 1, 2, 1]
    loss = distil_loss(logits, counts, taught_by)
    a, teacher, _, b = logits.split(counts)
    parts = [
        F.kl_div(x.log_softmax(-1), teacher.softmax(-1), reduction="batchmean") for x in (a, b)
    ]
    assert loss.item() == pytest.approx(sum(parts).item() / 2, rel=1e-5)
    loss.backward()
    moved = [part.abs().sum().item() > 0 for part in logits.grad.split(counts)]
    assert moved == [True, False, False, True]


def test_without_pupils_the_loss_is_zero() -> None:
    assert distil_loss(torch.randn(4, 5), [2, 2], [0, 1]).item() == 0.0


def test_a_model_without_coarse_views_has_nothing_to_learn_from_itself(trained, clips) -> None:
    words = [torch.tensor([70, 71, 72])] * 3
    fine = [View(row, Rates(4, None)) for row in range(3)]
    both = [View(row, Rates(rate, None)) for rate in (4, 16) for row in range(3)]
    assert trained(clips, fine, words, distil=1.0).distil.item() == 0.0
    found, plain = trained(clips, both, words, distil=0.5), trained(clips, both, words)
    assert found.distil.item() > 0
    assert plain.distil is None
    assert found.total.item() == pytest.approx((plain.total + 0.5 * found.distil).item(), rel=1e-4)


def test_distillation_of_sampled_rates_is_refused() -> None:
    with pytest.raises(ValueError, match="finest view"):
        Objective(matryoshka="sample", distil=0.1)
