"""A cache of a Whisper encoder's layers for a buffer that grows, to be measured and not to be used.

Data: the sound so far, again and again -> features, of which most layers' outputs are those of an
earlier pass wherever the frame's key has hardly moved. The counterpart for sound of STC-Cacher
(arXiv 2512.00891): frames are matched by their time, and attention and MLP are computed anew only
for frames that are new or have changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from frontends.audio_tower import WINDOW_SECONDS, WhisperTower
from frontends.log_mel import HOP, SAMPLE_RATE

GROWN = 0.5  # more new frames than this share of the old ones, and the pass is whole


@dataclass(frozen=True)
class Policy:
    """Which frames of an earlier pass are computed again.

    Args:
        every: one pass of so many is whole, and is what the others are held against.
        share: of the earlier frames, those whose keys moved most; None to go by `threshold`.
        threshold: cosine of a key and its earlier one, below which a frame is computed again.
    """

    every: int = 4
    share: float | None = None
    threshold: float = 0.85

    def __str__(self) -> str:
        rule = f"cosine {self.threshold}" if self.share is None else f"share {self.share}"
        return f"{rule}, whole every {self.every}"

    def moved(self, similar: Tensor) -> Tensor:
        """Places [K] of the frames to compute again, of cosines [T]; in order of time."""
        if self.share is None:
            return (similar < self.threshold).nonzero()[:, 0]
        count = min(len(similar), max(1, math.ceil(self.share * len(similar))))
        return similar.topk(count, largest=False).indices.sort().values


@dataclass
class Tally:
    """What one layer has done: frames of earlier passes met and reused, and products.

    Args:
        shared: frames that a cached pass had met in the whole pass before it.
        reused: those of them that were not computed again.
        work: multiply-accumulates done.
        full: those of whole passes only.
    """

    shared: int = 0
    reused: int = 0
    work: float = 0.0
    full: float = 0.0


@dataclass
class _Held:
    """Of one layer in the last whole pass, [1, T, D] each."""

    keys: Tensor
    values: Tensor
    attended: Tensor
    widened: Tensor


@dataclass
class LayerCache:
    """Encodes one growing recording with a tower whose layers are cached.

    Args:
        tower: a Whisper encoder; as it was outside `caching`.
        policy: which frames are computed again.
    """

    tower: WhisperTower
    policy: Policy
    tallies: list[Tally] = field(init=False)

    def __post_init__(self) -> None:
        self.tallies = [Tally() for _ in self.tower.layers]
        self.reset()

    def reset(self) -> None:
        """Forget the recording, not the tallies."""
        self._held: dict[int, _Held] = {}
        self._passes, self._known, self._spoken, self._whole = 0, 0, 0, True

    @contextmanager
    def caching(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """Within: a function from the sound so far [S] to its features [T, D]."""
        for index, layer in enumerate(self.tower.layers):
            layer.forward = partial(self._layer, index, layer)  # shadows the class's own
        try:
            yield self._encode
        finally:
            for layer in self.tower.layers:
                del layer.forward
            self.reset()

    def _encode(self, wave: Tensor) -> Tensor:
        self._spoken = spoken(len(wave))
        grown = self._spoken - self._known > GROWN * self._known
        self._whole = self._passes % self.policy.every == 0 or grown
        features = whole_pass(self.tower, wave)
        self._passes = 1 if self._whole else self._passes + 1
        self._known = self._spoken if self._whole else self._known
        return features

    def _layer(self, index: int, layer: torch.nn.Module, x: Tensor, keep: Tensor | None) -> Tensor:
        """One layer over x [1, T, D]."""
        if keep is not None or x.shape[0] != 1:
            raise ValueError("a cache reads one recording at a time")
        attention, frames = layer.self_attn, x.shape[1]
        normed = layer.self_attn_layer_norm(x)
        keys = attention.k_proj(normed)
        old = None if self._whole else self._held[index]
        rows = torch.arange(frames) if old is None else self._rows(index, keys, old)
        values = _renewed(old and old.values, attention.v_proj(normed[:, rows]), rows, frames)
        split = partial(_split, heads=attention.heads)
        mixed = F.scaled_dot_product_attention(
            split(attention.q_proj(normed[:, rows])), split(keys), split(values)
        )
        mixed = attention.out_proj(mixed.transpose(1, 2).flatten(2))
        attended = _renewed(old and old.attended, mixed, rows, frames)
        x = x + attended
        wide = layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(x[:, rows]))))
        widened = _renewed(old and old.widened, wide, rows, frames)
        if old is None:
            self._held[index] = _Held(keys, values, attended, widened)
        width, tally = x.shape[2], self.tallies[index]
        done = frames * width**2 + len(rows) * (11 * width**2 + 2 * frames * width)
        tally.work += done
        tally.full += 12 * frames * width**2 + 2 * frames**2 * width
        return x + widened

    def _rows(self, index: int, keys: Tensor, held: _Held) -> Tensor:
        """Places of the frames to compute: those that moved, and all of new sound.

        Silence behind the sound, if the tower pads, is taken from the earlier pass.
        """
        shared = min(self._known, held.keys.shape[1])
        similar = torch.cosine_similarity(keys[0, :shared], held.keys[0, :shared], dim=-1)
        moved = self.policy.moved(similar)
        self.tallies[index].shared += shared
        self.tallies[index].reused += shared - len(moved)
        # Behind what the earlier pass held, there is nothing to take.
        end = keys.shape[1] if keys.shape[1] > held.keys.shape[1] else self._spoken
        return torch.cat([moved, torch.arange(shared, end)])


def spoken(samples: int) -> int:
    """Frames of so much sound, without the silence behind it."""
    return -(-samples // (2 * HOP))


def whole_pass(tower: WhisperTower, wave: Tensor) -> Tensor:
    """Features [T, D] of a wave [S]; those of the silence behind it too, if the tower pads."""
    if tower.pad == "30s":
        wave = F.pad(wave, (0, WINDOW_SECONDS * SAMPLE_RATE - len(wave)))
    return tower(wave[None], torch.tensor([len(wave)]))[0][0]


def _split(x: Tensor, heads: int) -> Tensor:
    """[1, T, D] -> [1, heads, T, D / heads]."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _renewed(old: Tensor | None, new: Tensor, rows: Tensor, frames: int) -> Tensor:
    """[1, T, D]: what was held, with the rows that were computed; rows behind it are all new."""
    if old is None:
        return new
    out = new.new_zeros(1, frames, new.shape[2])
    kept = min(frames, old.shape[1])
    out[:, :kept] = old[:, :kept]
    out[:, rows] = new
    return out
