"""CTC prefix probabilities against all paths spelled out."""

import itertools
import math

import pytest
import torch

from avsr.ctc import collapse
from avsr.ctc_prefix import UNKNOWN, PrefixScorer


def table(frames: int, classes: int, seed: int = 0) -> torch.Tensor:
    """Log-probabilities [frames, classes]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, classes, generator=generator).log_softmax(-1)


def by_hand(logp: torch.Tensor, wanted: tuple[int, ...], *, whole: bool) -> float:
    """Probability that a path says these classes, or begins with them."""
    total = 0.0
    for path in itertools.product(range(logp.shape[1]), repeat=len(logp)):
        said = tuple(collapse(path))
        if said == wanted if whole else said[: len(wanted)] == wanted:
            total += math.exp(sum(logp[n, c].item() for n, c in enumerate(path)))
    return total


@pytest.mark.parametrize("said", [(), (1,), (2,), (1, 2), (1, 1), (2, 1, 2), (1, 1, 1)], ids=str)
def test_every_prefix_has_the_probability_of_its_paths(said: tuple[int, ...]) -> None:
    """Extensions, end and running total equal the sum over all 3 ** 5 paths."""
    logp = table(5, 3)
    scorer = PrefixScorer(logp)
    prefix = scorer.start()
    for new in said:
        expected = scorer.totals(prefix)[new].item()
        prefix = scorer.extend(prefix, new)
        assert prefix.total == pytest.approx(expected, abs=1e-5)
    assert math.exp(prefix.total) == pytest.approx(by_hand(logp, said, whole=False), rel=1e-5)
    assert math.exp(scorer.end(prefix)) == pytest.approx(by_hand(logp, said, whole=True), rel=1e-5)
    for new in (1, 2):
        found = math.exp(scorer.totals(prefix)[new].item())
        assert found == pytest.approx(by_hand(logp, (*said, new), whole=False), rel=1e-5)


def test_what_may_follow_adds_up() -> None:
    """The end and all longer prefixes share the prefix's probability."""
    scorer = PrefixScorer(table(40, 6))
    prefix = scorer.start()
    for new in (3, 3, 1, 5):
        prefix = scorer.extend(prefix, new)
    shares = [*scorer.totals(prefix)[1:-1].tolist(), scorer.end(prefix)]
    assert sum(map(math.exp, shares)) == pytest.approx(math.exp(prefix.total), rel=1e-5)


def test_a_token_without_a_class_is_unlikely_and_not_impossible() -> None:
    """It is scored as if each frame gave it the same small chance."""
    scorer = PrefixScorer(table(30, 4))
    longer = scorer.extend(scorer.start(), scorer.unknown)
    assert math.log(UNKNOWN) - 5 < longer.total < math.log(30 * UNKNOWN)


def test_more_tokens_than_frames_stay_finite() -> None:
    """What cannot be said scores very low; nothing turns into NaN or infinity."""
    scorer = PrefixScorer(table(2, 4))
    prefix = scorer.start()
    for new in (1, 2, 3, 1, 1):
        prefix = scorer.extend(prefix, new)
    assert math.isfinite(prefix.total)
    assert math.isfinite(scorer.end(prefix))
    assert scorer.totals(prefix)[1:].isfinite().all()


def test_long_clips_keep_their_precision() -> None:
    """Two halves of a sure reading: 400 frames of one word each and blanks between."""
    logp = torch.full((400, 4), -30.0)
    logp[:, 0] = 0.0
    for n, c in ((50, 1), (150, 2), (250, 2), (350, 3)):
        logp[n, 0], logp[n, c] = -30.0, 0.0
    scorer = PrefixScorer(logp)
    prefix = scorer.start()
    for new in (1, 2, 2, 3):
        prefix = scorer.extend(prefix, new)
    assert prefix.total == pytest.approx(0.0, abs=1e-4)
    assert scorer.end(prefix) == pytest.approx(0.0, abs=1e-4)
