"""Trainable compressors: they begin as pooling, mind the mask and the clock, and learn."""

import pytest
import torch

from avsr.compress import (
    Cif,
    Compressor,
    Conv,
    Guide,
    Guided,
    Hier,
    NotCausalError,
    Pool,
    QFormer,
    Stack,
)
from avsr.compress.attention import aligned
from avsr.errors import ConfigError
from avsr.streams import Budget, TokenStream

WIDTH, OTHER = 6, 4


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def sound() -> TokenStream:
    return TokenStream.from_features(noise(3, 100, WIDTH), torch.tensor([100, 60, 7]), 50.0)


@pytest.fixture(scope="module")
def lips() -> TokenStream:
    return TokenStream.from_features(noise(3, 50, OTHER, seed=1), torch.tensor([50, 30, 0]), 25.0)


def awake(made: Compressor) -> Compressor:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return made


@pytest.mark.parametrize(
    "made",
    [
        Conv(width=WIDTH, rates=(4, 5)),
        Guided(width=WIDTH, other_width=OTHER),
        Guided(width=WIDTH, other_width=OTHER, nested="yes"),
        Hier(width=WIDTH, other_width=OTHER),
    ],
    ids=["conv", "guided", "nested", "hier"],
)
def test_a_fresh_one_pools(made: Compressor, sound: TokenStream, lips: TokenStream) -> None:
    pooled = Pool()(sound, Budget.rate(5))
    out = made(sound, Budget.rate(5), Guide(other=lips))
    rows = slice(0, 2) if isinstance(made, Conv) else slice(0, 3)  # its tail repeats a frame
    torch.testing.assert_close(out.x[rows], pooled.x[rows], rtol=1e-5, atol=1e-6)
    assert torch.equal(out.owner, pooled.owner)


def test_a_convolution_is_a_stack_and_a_linear_layer(sound: TokenStream) -> None:
    made = awake(Conv(width=WIDTH, rates=(4,)))
    kernel = made.kernels["4"]
    stacked = Stack()(sound, Budget.rate(4))
    want = kernel(stacked.x).masked_fill(~stacked.mask[..., None], 0.0)
    assert torch.equal(made(sound, Budget.rate(4)).x, want)
    weight = kernel.weight.reshape(WIDTH, 4, WIDTH).transpose(1, 2)
    strided = torch.nn.functional.conv1d(sound.x.transpose(1, 2), weight, kernel.bias, stride=4)
    torch.testing.assert_close(strided.transpose(1, 2)[0], want[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="no kernel for rate 3"):
        made(sound, Budget.rate(3))


def test_other_is_found_by_time(sound: TokenStream, lips: TokenStream) -> None:
    index = aligned(sound, lips)
    assert index[0, :5].tolist() == [0, 0, 1, 1, 2]
    assert index[0, 99] == 49
    assert index[2].tolist() == [0] * 100  # nothing there


def test_guided_follows_a_guide_at_its_own_rate() -> None:
    s = TokenStream.from_features(torch.eye(8)[None], torch.tensor([8]), 50.0)
    spot = torch.zeros(1, 4, 1)
    spot[0, 2] = 1  # frames 4 and 5 of the sound
    other = TokenStream.from_features(spot, torch.tensor([4]), 25.0)
    made = Guided(width=8, other_width=1, inner=1, beta=1000.0)
    torch.nn.init.ones_(made.of_frame.weight)
    torch.nn.init.ones_(made.of_guide.weight)
    out = made(s, Budget.rate(4), Guide(other=other))
    assert out.x[0, 0].tolist() == [0.25] * 4 + [0.0] * 4  # not guided: even
    assert out.x[0, 1].tolist() == [0.0] * 4 + [0.5, 0.5, 0.0, 0.0]


def test_a_missing_guide_is_an_even_mean(sound: TokenStream, lips: TokenStream) -> None:
    made, pooled = awake(Guided(width=WIDTH, other_width=OTHER)), Pool()(sound, Budget.rate(4))
    for guide in (None, Guide()):
        torch.testing.assert_close(made(sound, Budget.rate(4), guide).x, pooled.x)
    out = made(sound, Budget.rate(4), Guide(other=lips))
    torch.testing.assert_close(out.x[2], pooled.x[2])  # a row without lips
    assert not torch.allclose(out.x[0], pooled.x[0])


def test_windows_do_not_see_one_another(sound: TokenStream, lips: TokenStream) -> None:
    made = awake(Guided(width=WIDTH, other_width=OTHER))
    later = sound.x.clone()
    later[:, 8:12] += 1
    a, b = (made(s, Budget.rate(4), Guide(other=lips)).x for s in (sound, sound.replace(x=later)))
    changed = (a != b).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == [2]


def test_a_density_guides_by_one_learned_number(sound: TokenStream) -> None:
    made, pooled = Guided(width=WIDTH, other_width=OTHER, guide="density"), Pool()
    told = torch.zeros(3, 100)
    told[:, 1::4] = 1.0
    out = made(sound, Budget.rate(4), Guide(density=told))
    torch.testing.assert_close(out.x, pooled(sound, Budget.rate(4)).x, rtol=1e-5, atol=1e-6)
    torch.nn.init.constant_(made.gain, 1e4)
    out = made(sound, Budget.rate(4), Guide(density=told))
    torch.testing.assert_close(out.x[0, :25], sound.x[0, 1::4])  # the one frame of each window


def test_a_guided_stream_forgets_what_it_has_read(sound: TokenStream, lips: TokenStream) -> None:
    streamer = awake(Guided(width=WIDTH, other_width=OTHER)).stream(Budget.rate(4))
    for start in range(0, 100, 4):
        streamer.step(
            TokenStream.from_features(
                sound.x[:1, start : start + 4], torch.tensor([4]), 50.0, start / 50
            ),
            Guide(
                other=TokenStream.from_features(
                    lips.x[:1, start // 2 : start // 2 + 2], torch.tensor([2]), 25.0, start / 50
                )
            ),
        )
    assert streamer._held.mask.shape[1] == 0
    assert streamer._other.mask.shape[1] <= 1
    with pytest.raises(NotCausalError, match="nested"):
        Guided(width=WIDTH, other_width=OTHER, nested="yes").stream(Budget.rate(4))


def test_phrases_and_prompts_guide_too(sound: TokenStream) -> None:
    words = noise(3, OTHER, seed=4)
    pooled = Pool()(sound, Budget.rate(4)).x
    for source, guide in (("phrases", Guide(phrases=words)), ("prompt", Guide(prompt=words[None]))):
        made = awake(Guided(width=WIDTH, other_width=OTHER, guide=source))
        out = made(sound, Budget.rate(4), guide)
        assert torch.isfinite(out.x).all()
        assert not torch.allclose(out.x, pooled)
        frames = made.of_frame(sound.x) @ made.of_guide(words).T / 8
        want = frames.amax(-1) if source == "phrases" else frames.mean(-1)
        got = made.relevance(sound, guide)
        torch.testing.assert_close(got[0], want[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("nested", ["no", "yes"])
def test_adding_to_every_relevance_changes_nothing(sound: TokenStream, nested: str) -> None:
    made = Guided(width=WIDTH, other_width=OTHER, nested=nested)
    score, plan = noise(3, 100, seed=5), (torch.arange(100) // 4).expand(3, 100)
    one, other = (made.sharpened(score + more, plan, sound) for more in (0.0, 3.0))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert (one[~sound.mask] == 0).all()


def test_the_nested_softmax_is_the_papers(sound: TokenStream) -> None:
    made = Guided(width=WIDTH, other_width=OTHER, nested="yes")
    score, plan = noise(3, 100, seed=6), (torch.arange(100) // 4).expand(3, 100)
    got = made.sharpened(score, plan, sound)[1, :60].reshape(15, 4)
    want = (score[1, :60].softmax(0) / 0.01).reshape(15, 4).softmax(1)
    torch.testing.assert_close(got / got.sum(1, keepdim=True), want, rtol=1e-4, atol=1e-5)


def test_hier_sees_the_other_modality_at_its_own_time_alone(
    sound: TokenStream, lips: TokenStream
) -> None:
    made = awake(Hier(width=WIDTH, other_width=OTHER, window=0.2, context=0.1, layers=1)).eval()
    later = lips.x.clone()
    later[:, 30:] *= -1  # from 1.2 s
    a, b = (made(sound, Budget.rate(5), Guide(other=v)) for v in (lips, lips.replace(x=later)))
    changed = (a.x - b.x).abs().amax(-1)[0] > 1e-6
    assert changed.any()
    assert (a.t1[0, changed] > 1.2 - 0.2 - 0.2 - 0.1).all()  # a window and its neighbour, context
    torch.testing.assert_close(a.x[2], b.x[2])
    alone = made(sound.select([2]), Budget.rate(5), None)
    torch.testing.assert_close(alone.x[0, :2], a.x[2, :2], rtol=1e-4, atol=1e-5)


def test_too_many_tokens_for_the_queries_are_refused(sound: TokenStream) -> None:
    with pytest.raises(ConfigError, match="has 3 queries"):
        QFormer(width=WIDTH, queries=3)(sound, Budget.rate(4))


def test_cif_fires_as_often_as_asked_and_learns_to(sound: TokenStream) -> None:
    made = awake(Cif(width=WIDTH))
    assert made(sound, Budget.rate(4)).lengths.tolist() == [25, 15, 2]
    free = made(sound, Budget.threshold(1.0)).validate()
    low = made(sound, Budget.threshold(0.5)).validate()
    assert (low.lengths > free.lengths).any()
    wanted = torch.tensor([20, 12, 2])
    optimizer = torch.optim.Adam(made.parameters(), lr=0.05)
    losses = []
    for _ in range(40):
        loss = made.quantity_loss(sound, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(
    "made",
    [
        Conv(width=WIDTH, rates=(4,)),
        Guided(width=WIDTH, other_width=OTHER),
        Hier(width=WIDTH, other_width=OTHER),
        QFormer(width=WIDTH, queries=64),
        Cif(width=WIDTH),
    ],
    ids=lambda made: made.card.name,
)
def test_every_parameter_learns(made: Compressor, sound: TokenStream, lips: TokenStream) -> None:
    awake(made)
    out = made(sound, Budget.rate(4), Guide(other=lips))
    (out.x * noise(*out.x.shape, seed=7)).sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
