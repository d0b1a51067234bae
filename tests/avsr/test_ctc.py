"""The CTC of projected tokens: against every path, against torch, and by a plain collapse."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from avsr.ctc import EmbeddingCtc
from avsr.streams import TokenStream

H = 12
VOCABULARY = [3, 5, 11, 20]


@pytest.fixture
def head():
    table = torch.randn(30, H, generator=torch.Generator().manual_seed(0))
    return EmbeddingCtc(table, VOCABULARY)


@pytest.fixture
def table():
    return torch.randn(30, H, generator=torch.Generator().manual_seed(0))


def stream(lengths, seed=1):
    x = torch.randn(len(lengths), max(lengths), H, generator=torch.Generator().manual_seed(seed))
    return TokenStream.from_features(x, torch.tensor(lengths), 12.5)


def texts(*rows):
    return [torch.tensor(row, dtype=torch.long) for row in rows]


def collapse(path, blank=0):
    """Repeats first, blanks second."""
    runs = [symbol for symbol, _ in itertools.groupby(path)]
    return [symbol for symbol in runs if symbol != blank]


def test_logits_are_scaled_cosines_blank_first(head, table):
    x = stream([4]).x
    classes = [head.blank, *(table[i] for i in VOCABULARY)]
    wanted = torch.stack(
        [
            torch.stack([20.0 * F.cosine_similarity(frame, c, dim=0) for c in classes])
            for frame in x[0]
        ]
    )
    torch.testing.assert_close(head.log_probs(x)[0], wanted.log_softmax(-1), rtol=1e-4, atol=1e-4)
    louder = head.log_probs(100 * x)
    torch.testing.assert_close(louder, head.log_probs(x), rtol=1e-4, atol=1e-4)


def test_loss_is_the_sum_over_every_path(head):
    """4 frames, 5 classes: 625 paths, counted one by one."""
    with torch.no_grad():
        head.log_scale.fill_(math.log(3.0))  # flat enough for every path to count
    made, wanted = stream([4]), [5, 5]  # a repeat, which must have a blank between
    logprobs = head.log_probs(made.x)[0].double().detach()
    classes = [VOCABULARY.index(i) + 1 for i in wanted]
    probability = sum(
        math.exp(sum(float(logprobs[t, symbol]) for t, symbol in enumerate(path)))
        for path in itertools.product(range(5), repeat=4)
        if collapse(path) == classes
    )
    loss = head(made, texts(wanted)).detach()
    assert float(loss) == pytest.approx(-math.log(probability) / 2, rel=1e-4)  # a token's share


def test_loss_is_torchs_with_an_explicit_table(head, table):
    made, words = stream([9, 6, 4]), texts([5, 3], [20, 20, 3], [11])
    logits = (
        F.normalize(made.x, dim=-1)
        @ F.normalize(torch.cat([head.blank[None], table[VOCABULARY]]), dim=-1).T
        * head.log_scale.exp()
    )
    targets = torch.tensor([[2, 1, 0], [4, 4, 1], [3, 0, 0]])
    wanted = F.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        targets,
        torch.tensor([9, 6, 4]),
        torch.tensor([2, 3, 1]),
    )
    torch.testing.assert_close(head(made, words), wanted)


def test_batch_is_the_mean_over_its_rows(head):
    made, words = stream([9, 6, 4]), texts([5, 3], [20, 20, 3], [11])
    rows = [head(made.select([i]).trim(), words[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(head(made, words), torch.stack(rows).mean())


@pytest.mark.parametrize("words", [[3, 5, 11, 20], [5, 5, 5]])
def test_a_text_that_does_not_fit_counts_zero(head, words):
    """More tokens than frames, or as many with repeats that need blanks between."""
    made = stream([3])
    made = made.replace(x=made.x.clone().requires_grad_())
    loss = head(made, texts(words))
    assert float(loss.detach()) == 0.0
    loss.backward()
    assert not made.x.grad.any()
    both = head(stream([3, 3]), texts(words, [5]))
    alone = head(stream([3, 3]).select([1]), texts([5]))
    torch.testing.assert_close(both, alone / 2)


def test_tokens_that_are_no_class_are_left_out(head):
    assert torch.equal(head(stream([6]), texts([3, 29, 5])), head(stream([6]), texts([3, 5])))


def test_a_row_without_frames_or_text_is_harmless(head):
    made = stream([5, 0])
    loss = head(made, texts([3], []))
    torch.testing.assert_close(loss, head(made.select([0]), texts([3])) / 2)


@pytest.mark.parametrize("filling", [float("nan"), 1e30])
def test_padding_reaches_neither_loss_nor_gradient(head, filling):
    def run(x):
        head.zero_grad()
        source = x.clone().requires_grad_()
        loss = head(made.replace(x=source), texts([5, 3], [3]))
        loss.backward()
        return loss.detach(), source.grad, head.blank.grad.clone(), head.log_scale.grad.clone()

    made = stream([7, 3])
    plain = run(made.x)
    for mine, other in zip(
        plain, run(made.x.masked_fill(~made.mask[..., None], filling)), strict=True
    ):
        assert mine.isfinite().all()
        assert torch.equal(mine, other)
    assert plain[2].abs().max() > 0
    assert plain[3].abs() > 0


def test_greedy_is_a_plain_collapse(head):
    """Frames that lie on words, blanks and repeats among them, the padding too."""
    points = torch.cat([head.blank.detach()[None], head.classes])
    paths = [[0, 1, 1, 0, 1, 2, 2, 4], [3, 3, 0, 0, 3], [0, 0], [2]]
    x = torch.nn.utils.rnn.pad_sequence(
        [points[path] for path in paths], batch_first=True, padding_value=1.0
    )
    made = TokenStream.from_features(x, torch.tensor([len(p) for p in paths]), 12.5)
    wanted = [[VOCABULARY[i - 1] for i in collapse(path)] for path in paths]
    assert wanted == [[3, 3, 5, 20], [11, 11], [], [5]]
    assert head.greedy(made) == wanted


def test_greedy_of_random_frames_is_a_plain_collapse(head):
    made = stream([40, 17, 1])
    best = head.log_probs(made.x).argmax(-1)
    wanted = [
        [VOCABULARY[i - 1] for i in collapse(best[row, :n].tolist())]
        for row, n in enumerate([40, 17, 1])
    ]
    assert head.greedy(made) == wanted


def test_only_blank_and_scale_are_trained_and_stored(head):
    assert sorted(head.state_dict()) == ["blank", "log_scale"]
    assert sorted(n for n, _ in head.named_parameters()) == ["blank", "log_scale"]
