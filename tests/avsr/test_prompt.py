"""The order of a sequence, and where its padding lies."""

import pytest
import torch

from avsr.prompt import IGNORE, MARKERS, Prompter, pad_left, pad_right

H = 4


def rows(*sizes):
    """Rows whose numbers say which row and position they are: 100 * row + position."""
    return [
        (100 * (i + 1) + torch.arange(n, dtype=torch.float32))[:, None].expand(n, H)
        for i, n in enumerate(sizes)
    ]


@pytest.fixture
def prompter():
    return Prompter(H, 1.0, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("has_text", [True, False])
@pytest.mark.parametrize("has_video", [True, False])
@pytest.mark.parametrize("has_audio", [True, False])
@pytest.mark.parametrize("bos", [1, 0])
def test_layout(prompter, has_audio, has_video, has_text, bos):
    before, audio, video, prompt, text = rows(bos, 3, 2, 4, 5)
    marker = dict(zip(MARKERS, prompter.markers[:, None], strict=True))
    wanted = [before]
    if has_audio:
        wanted += [marker["<audio>"], audio, marker["</audio>"]]
    if has_video:
        wanted += [marker["<video>"], video, marker["</video>"]]
    wanted += [prompt, text] if has_text else [prompt]
    made = prompter.layout(
        audio if has_audio else None,
        video if has_video else None,
        before,
        prompt,
        text if has_text else None,
    )
    assert torch.equal(made, torch.cat(wanted))


def test_layout_is_in_the_dtype_of_the_llm_and_markers_are_masters(prompter):
    before, audio, prompt = rows(1, 3, 2)
    made = prompter.layout(audio, None, before.bfloat16(), prompt.bfloat16())
    assert made.dtype == torch.bfloat16
    assert prompter.markers.dtype == torch.float32
    made.float().sum().backward()
    assert prompter.markers.grad[:2].abs().min() > 0
    assert not prompter.markers.grad[2:].any()


def test_pad_right_predicts_each_target_one_position_before_it():
    sizes, targets = (6, 3, 4), [torch.tensor([7, 8, 9]), torch.tensor([5]), torch.tensor([4, 3])]
    batch = pad_right(rows(*sizes), targets)
    assert batch.mask.tolist() == [[i < n for i in range(6)] for n in sizes]
    for i, (row, target) in enumerate(zip(rows(*sizes), targets, strict=True)):
        size = len(row)
        assert torch.equal(batch.embeds[i, :size], row)
        assert not batch.embeds[i, size:].any()
        blank = [IGNORE] * (size - len(target))
        assert batch.labels[i].tolist() == blank + target.tolist() + [IGNORE] * (6 - size)


def test_pad_left_ends_every_row_at_the_last_position():
    sizes = (2, 5, 1)
    batch = pad_left(rows(*sizes))
    assert batch.mask.tolist() == [[i >= 5 - n for i in range(5)] for n in sizes]
    for i, row in enumerate(rows(*sizes)):
        assert torch.equal(batch.embeds[i, 5 - len(row) :], row)
        assert not batch.embeds[i, : 5 - len(row)].any()
    assert (batch.labels == IGNORE).all()


def test_markers_start_as_large_as_words():
    markers = Prompter(4096, 0.05, torch.Generator().manual_seed(0)).markers
    assert markers.shape == (len(MARKERS), 4096)
    torch.testing.assert_close(markers.std(dim=1), torch.full((4,), 0.05), rtol=0.1, atol=0)
    assert torch.unique(markers, dim=0).shape[0] == len(MARKERS)
