"""A toy of audio-visual speech: spoken digits as patterns, and a small transformer that reads them.

Data: seed -> utterances (sound at 50 Hz, lips at 25 Hz, digits); features, compressor, rate ->
digits. It shows in seconds what a compressor does to an error rate; it says nothing of speech.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.compress import Compressor, Guide
from avsr.compress.presets import build_compressor
from avsr.streams import Budget, TokenStream

DIGITS = 10
SOUND, LIPS = 16, 8
RATES = {"audio": (2, 4, 8, 16), "video": (1, 2, 4, 8)}
Task = Literal["a", "v", "av"]
SLOTS = (1, 2, 4, 8)  # CTC frames of a token at each step: a coarse one holds several digits


@dataclass(frozen=True)
class Setting:
    """How utterances of a set are spoken.

    Args:
        noise: deviation of noise in sound and lips.
        babble: share of a second speaker in the sound.
        speed: 1.4 is fast.
        digits: least and most of an utterance; (0, 0) is silence.
    """

    noise: float = 0.3
    babble: float = 0.0
    speed: float = 1.0
    digits: tuple[int, int] = (3, 7)


@dataclass(frozen=True)
class Utterances:
    """A batch.

    Args:
        sound: [B, T, SOUND] at 50 Hz.
        lips: [B, T / 2, LIPS] at 25 Hz.
        texts: digits of each row.
    """

    sound: TokenStream
    lips: TokenStream
    texts: tuple[tuple[int, ...], ...]

    @property
    def seconds(self) -> float:
        """Length of all rows together."""
        return float(self.sound.lengths.sum()) / 50.0


class Speaker:
    """Makes utterances: each digit has a sound and a mouth, three pairs of digits look alike.

    Args:
        seed: of the patterns.
    """

    def __init__(self, seed: int = 0) -> None:
        random = torch.Generator().manual_seed(seed)
        self.sound = torch.randn(DIGITS + 1, SOUND, generator=random)
        self.lips = torch.randn(DIGITS + 1, LIPS, generator=random)
        for one, other in ((1, 2), (3, 4), (5, 6)):
            self.lips[other] = self.lips[one]

    def say(self, rows: int, setting: Setting, seed: int) -> Utterances:
        """A batch of utterances by its seed alone."""
        random = torch.Generator().manual_seed(seed)
        sound, lips, texts = [], [], []
        for _ in range(rows):
            text, labels = self._labels(setting, random)
            other = self._labels(setting, random)[1] if setting.babble > 0 else labels
            x = _blurred(self.sound[labels])
            if setting.babble > 0:
                x = x + setting.babble * _blurred(self.sound[other[_stretched(labels, other)]])
            y = _blurred(self.lips[labels[::2]])
            sound.append(x + setting.noise * torch.randn(x.shape, generator=random))
            lips.append(y + setting.noise * torch.randn(y.shape, generator=random))
            texts.append(tuple(text))
        return Utterances(
            TokenStream.from_rows(sound, 50.0), TokenStream.from_rows(lips, 25.0), tuple(texts)
        )

    def _labels(self, setting: Setting, random: torch.Generator) -> tuple[list[int], Tensor]:
        """Digits of an utterance, and the pattern of each frame; silence is the last one."""

        def drawn(low: int, high: int) -> int:
            return int(torch.randint(low, high + 1, (1,), generator=random))

        text = [drawn(0, DIGITS - 1) for _ in range(drawn(*setting.digits))]
        parts = [DIGITS] * (6 if text else 60)
        for digit in text:
            parts += [digit] * max(2, round(drawn(6, 12) / setting.speed))
            parts += [DIGITS] * (drawn(4, 16) if drawn(0, 2) == 0 else 2)
        return text, torch.tensor(parts[: len(parts) // 2 * 2])


def _blurred(x: Tensor) -> Tensor:
    return 0.6 * x + 0.2 * torch.cat([x[:1], x[:-1]]) + 0.2 * torch.cat([x[1:], x[-1:]])


def _stretched(labels: Tensor, other: Tensor) -> Tensor:
    return torch.arange(len(labels)) % len(other)


class Reader(nn.Module):
    """Two streams, compressed and projected, through a transformer to CTC frames of digits.

    Args:
        compress: configuration of both compressors.
        seed: of the weights.
        width: of the transformer.
        layers: of the transformer.
    """

    def __init__(
        self, compress: dict[str, object], *, seed: int = 0, width: int = 48, layers: int = 2
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.into = nn.ModuleDict(
                {
                    kind: nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width))
                    for kind, size in (("audio", SOUND), ("video", LIPS))
                }
            )
            layer = nn.TransformerEncoderLayer(
                width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
            self.out = nn.Linear(width, SLOTS[-1] * (DIGITS + 1))
        self.kind = nn.Parameter(torch.zeros(2, width))
        self.step = nn.Parameter(torch.zeros(len(SLOTS), width))
        self.compressors = nn.ModuleDict()
        self.use(compress)

    def use(self, compress: dict[str, object]) -> Reader:
        """Exchange the compressors; their weights start anew."""
        for kind, size, other in (("audio", SOUND, LIPS), ("video", LIPS, SOUND)):
            self.compressors[kind] = build_compressor(
                compress, width=size, other_width=other, rates=RATES[kind]
            )
        return self

    def cut(self, said: Utterances, task: Task, step: int) -> dict[str, TokenStream]:
        """The task's streams at the rates of a step, 0 the finest."""
        streams = {"audio": said.sound, "video": said.lips}
        out = {}
        for kind in [kind for kind in streams if kind[0] in task]:
            compressor = self.compressors[kind]
            assert isinstance(compressor, Compressor)
            other = streams["video" if kind == "audio" else "audio"]
            guide = Guide(other=other) if task == "av" else None
            out[kind] = compressor(streams[kind], Budget.rate(RATES[kind][step]), guide)
        return out

    def forward(self, cut: dict[str, TokenStream], step: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities of CTC frames [B, F, V] of the first stream, and their mask [B, F]."""
        parts, masks = [], []
        for number, (kind, s) in enumerate(cut.items()):
            x = self.into[kind](s.x.masked_fill(~s.mask[..., None], 0.0))
            clock = _clock((s.t0 + s.t1) / 2, x.shape[-1])
            parts.append(x + self.kind[number] + self.step[step] + clock)
            masks.append(s.mask)
        mask = torch.cat(masks, 1)
        hidden = self.body(torch.cat(parts, 1), src_key_padding_mask=~mask)
        first = hidden[:, : masks[0].shape[1]]
        logits = self.out(first).unflatten(-1, (SLOTS[-1], DIGITS + 1))[:, :, : SLOTS[step]]
        frames = masks[0].repeat_interleave(SLOTS[step], 1)
        return logits.flatten(1, 2).log_softmax(-1), frames

    @torch.inference_mode()
    def read(self, cut: dict[str, TokenStream], step: int) -> list[list[int]]:
        """Digits of each row, by the best CTC path."""
        scores, mask = self(cut, step)
        best = scores.argmax(-1).masked_fill(~mask, DIGITS)
        rows = []
        for row in best.tolist():
            kept = [a for a, b in zip(row, [DIGITS, *row], strict=False) if a != b]
            rows.append([digit for digit in kept if digit != DIGITS])
        return rows

    def loss(self, said: Utterances, task: Task, step: int) -> Tensor:
        """CTC loss a digit."""
        scores, mask = self(self.cut(said, task, step), step)
        target = torch.tensor([digit for text in said.texts for digit in text])
        lengths = torch.tensor([len(text) for text in said.texts])
        return F.ctc_loss(
            scores.transpose(0, 1),
            target,
            mask.sum(1),
            lengths,
            blank=DIGITS,
            zero_infinity=True,
        )


def _clock(seconds: Tensor, width: int) -> Tensor:
    """Sines and cosines of times [B, N] -> [B, N, width], periods from 0.1 to 10 seconds."""
    rate = 60.0 * 0.01 ** (torch.arange(width // 2) / (width // 2))
    angle = seconds[..., None] * rate
    return torch.cat([angle.sin(), angle.cos()], -1)


def train(
    reader: Reader,
    speaker: Speaker,
    *,
    steps: int,
    seed: int,
    rows: int = 24,
    lr: float = 2e-3,
    each: Callable[[int, float], None] = lambda step, loss: None,
) -> Reader:
    """Train a reader at all its rates and tasks, one drawn for each step.

    Args:
        reader: changed in place.
        speaker: makes the utterances, clean and in babble.
        steps: of AdamW under one cycle.
        seed: of utterances and draws.
        rows: utterances a step.
        lr: peak learning rate.
        each: called with step and loss.
    """
    reader.train()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(2, steps))
    for step, (task, rate, setting) in enumerate(_draws(seed, steps)):
        loss = reader.loss(speaker.say(rows, setting, seed * 1_000_003 + step), task, rate)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        each(step, loss.item())
    return reader.eval()


def _draws(seed: int, steps: int) -> Iterator[tuple[Task, int, Setting]]:
    random = torch.Generator().manual_seed(seed)
    tasks: Sequence[Task] = ("a", "v", "av")
    for _ in range(steps):
        task, rate, babble = (int(torch.randint(n, (1,), generator=random)) for n in (3, 4, 2))
        yield tasks[task], rate, Setting(babble=0.5 * babble)
