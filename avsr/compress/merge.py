"""Merging of neighbours that are alike: in pairs, into an open group, or window by window.

Data: TokenStream [B, T, D], Budget -> [B, N, D].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from avsr.compress.base import Card, Guide, Meets, NotCausalError, Streamer, compressors
from avsr.compress.cosine import cosine, rounded, to_previous, unit
from avsr.compress.density import frame_weights
from avsr.compress.plans import Grouping, from_starts, plain, ranked, streamed, whole
from avsr.compress.ward import cheapest
from avsr.compress.windows import GroupStreamer, WindowStreamer
from avsr.streams import Budget, TokenStream


@compressors.register("atome")
class Atome(Grouping):
    """Adjacent token merging: rounds of pairs of neighbours, the most alike first (A-ToMe, 2023).

    A token takes part once a round, so a round merges at most half of them; means are weighted by
    size. VideoChat-Flash (arXiv 2501.00574) merges inside short clips, which `clip` asks for.

    Args:
        clip: frames of a clip that no token crosses; each is cut to its own share of the budget,
            to one token at least. None for the whole row.

    Raises:
        ValueError: a clip below 2 frames.
    """

    card: ClassVar[Card] = Card(
        name="atome",
        paper="A-ToMe (Li et al. 2023)",
        place="pre-llm",
        mechanism="similarity",
        signal="cosine",
        op="merge",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second", "threshold"}),
        about="pairs of neighbours in rounds",
    )

    def __init__(self, *, clip: int | None = None) -> None:
        if clip is not None and clip < 2:
            raise ValueError(f"clip must be at least 2 frames, got {clip}")
        super().__init__(clip=clip)
        self.clip = clip

    @property
    def meets(self) -> Meets:
        """Exactly, unless there are more clips than tokens: each of them keeps one."""
        return "exactly" if self.clip is None else "loosely"

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """Rounds until the budget is met, or until no neighbours are so similar."""
        x, counts = plain(s), s.resolve(b)
        if self.clip is None:
            return _rounds(x, s.size, s.mask, counts, b)
        rows, width = s.mask.shape
        clips = -(-width // self.clip)
        extra = clips * self.clip - width
        parts = F.pad(x, (0, 0, 0, extra)).reshape(rows * clips, self.clip, s.x.shape[-1])
        size, mask = (F.pad(t, (0, extra)).reshape(-1, self.clip) for t in (s.size, s.mask))
        ends = (torch.arange(clips + 1, device=s.device) * self.clip).minimum(s.lengths[:, None])
        upto = -(-(ends * counts[:, None]) // s.lengths.clamp(min=1)[:, None])
        own = upto.diff(dim=1).reshape(-1).clamp(min=1).minimum(mask.sum(1))
        plan = _rounds(parts, size, mask, own, b).masked_fill(~mask, -1)
        found = (plan.amax(1) + 1).reshape(rows, clips)
        plan = plan.reshape(rows, clips, self.clip) + (found.cumsum(1) - found)[..., None]
        return plan.reshape(rows, clips * self.clip)[:, :width]


@compressors.register("affinity")
class Affinity(Grouping):
    """A token joins the open group if it is like it, else it opens the next (arXiv 2604.06871).

    At a threshold the row is read once from left to right, and it can stream. At a number of tokens
    the groups end where neighbours are least alike, so the groups of a coarse budget are unions of
    those of a fine one; `link` and `max_span` are for thresholds alone.

    Args:
        window: tokens before it that a token is compared with.
        link: "any" of them must be similar enough (Affinity Pooling), or the "mean" of the group's
            (SA-MAP).
        weights: "mean", or "inverse" to weigh a token less, the more it is like the mean of its
            group (after AdaTS); "energy" or "density" as in `density.frame_weights`, which do not
            say where groups end.
        max_span: tokens that go into the longest group, None for no limit; they are frames unless
            the stream was cut before.

    Raises:
        ValueError: settings that make no group.
    """

    card: ClassVar[Card] = Card(
        name="affinity",
        paper="arXiv 2604.06871",
        place="pre-llm",
        mechanism="similarity",
        signal="cosine",
        op="merge",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "keep", "tokens", "per_second", "threshold"}),
        streams=frozenset({"threshold"}),
        nested=True,
        about="groups end where similarity falls",
    )

    def __init__(
        self,
        *,
        window: int = 1,
        link: Literal["any", "mean"] = "any",
        weights: Literal["mean", "inverse", "energy", "density"] = "mean",
        max_span: int | None = None,
    ) -> None:
        if link not in ("any", "mean") or weights not in ("mean", "inverse", "energy", "density"):
            raise ValueError(f"link={link!r}, weights={weights!r} are not known")
        if window < 1 or (max_span is not None and max_span < 1):
            raise ValueError(f"window={window}, max_span={max_span} must be at least 1")
        super().__init__(window=window, link=link, weights=weights, max_span=max_span)
        self.window, self.link, self.by, self.max_span = window, link, weights, max_span

    @property
    def reads(self) -> frozenset[str]:
        """A density, if frames are weighed by one."""
        return frozenset({"density"} if self.by == "density" else ())

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """As `plans`, for one budget."""
        return self.plans(s, [b], g)[0]

    def plans(self, s: TokenStream, budgets: Sequence[Budget], g: Guide | None) -> list[Tensor]:
        """Similarities once, then one cut for each budget."""
        x = plain(s)
        back = to_previous(x, self.window)
        out = []
        for b in budgets:
            if b.kind == "threshold":
                out.append(from_starts(self._starts(x, back, b.value)))
                continue
            starts = torch.ones_like(s.mask)
            order = ranked(back[:, 1:], s.mask[:, 1:])
            starts[:, 1:] = order < (s.resolve(b) - 1)[:, None]
            out.append(from_starts(starts))
        return out

    def weights(self, s: TokenStream, plan: Tensor, g: Guide | None) -> Tensor | None:
        """As asked for, by inverse two less the cosine to the group's mean, in [1, 3]."""
        if self.by == "energy" or self.by == "density":
            return frame_weights(s, self.by, g)
        if self.by == "mean" or s.mask.shape[1] == 0:
            return None
        u = unit(plain(s))
        held = plan.clamp(min=0).masked_fill(~s.mask, 0)
        total = torch.zeros_like(u).scatter_add(1, held[..., None].expand_as(u), u)
        return 2 - cosine(u, unit(total.gather(1, held[..., None].expand_as(u))))

    def stream(self, b: Budget) -> Streamer:
        """A streaming form at a threshold; a token waits for the first frame that is unlike it.

        Raises:
            NotCausalError: frames are weighed by a density, which open groups do not hold.
        """
        self.check_stream(b)
        if self.by == "density":
            raise NotCausalError(
                "open groups of live streams are not weighed by a density",
                todo='Choose weights "energy" or "inverse", or the compressor \'weighted\'.',
            )
        return GroupStreamer(self, b)

    def _starts(self, x: Tensor, back: Tensor, threshold: float) -> Tensor:
        """Where groups start [B, T], read from left to right."""
        rows, frames = back.shape
        if self.link == "any" and self.window == 1 and self.max_span is None:
            return back < threshold
        u = unit(x)
        starts = torch.ones(rows, frames, dtype=torch.bool, device=x.device)
        first = starts.new_zeros(rows, dtype=torch.long)
        told = torch.cat([u, ~u.any(-1, keepdim=True)], -1).double()  # so that zeros are alike
        members = told[:, 0].clone()  # in double: sums of many equal frames do not drift
        lags = [cosine(u[:, lag:], u[:, :-lag]) for lag in range(1, min(self.window, frames))]
        if self.window < frames:
            lags.append(cosine(u[:, self.window :], u[:, : -self.window]))
        for t in range(1, frames):
            if self.link == "mean":
                like = rounded((told[:, t] * members).sum(-1) / (t - first)).to(x.dtype)
            else:
                like = x.new_full((rows,), float("-inf"))
                for lag, found in enumerate(lags[:t], start=1):
                    inside = t - lag >= first
                    like = torch.where(inside, like.maximum(found[:, t - lag]), like)
            joins = like >= threshold
            if self.max_span is not None:
                joins &= t - first < self.max_span
            starts[:, t] = ~joins
            first = torch.where(joins, first, t)
            members = torch.where(joins[:, None], members + told[:, t], told[:, t])
        return starts


@compressors.register("window-merge")
class WindowMerge(Grouping):
    """Fixed windows that become one token only if all their frames are alike (MustDrop, DyCoke).

    A still window is one token, a moving one keeps its frames: the content has a say in the number.

    Args:
        similarity: least cosine between any two frames of a window that is merged.
        window: frames of a window at a budget that is a threshold; a rate brings its own.

    Raises:
        ValueError: a window below 2.
    """

    card: ClassVar[Card] = Card(
        name="window-merge",
        paper="arXiv 2411.10803 and 2411.15024",
        place="pre-llm",
        mechanism="similarity",
        signal="cosine",
        op="merge",
        contiguous=True,
        trainable=False,
        budgets=frozenset({"rate", "threshold"}),
        streams=frozenset({"rate", "threshold"}),
        meets="loosely",
        about="windows merged where nothing moves",
    )

    def __init__(self, *, similarity: float = 0.85, window: int = 2) -> None:
        if window < 2:
            raise ValueError(f"window must be at least 2, got {window}")
        super().__init__(similarity=similarity, window=window)
        self.similarity, self.window = similarity, window

    def plan(self, s: TokenStream, b: Budget, g: Guide | None) -> Tensor:
        """Frames of a still window share a token."""
        least = b.value if b.kind == "threshold" else self.similarity
        u, frames = unit(plain(s)), s.mask.shape[1]
        size = min(self._window(b), frames)
        place = torch.arange(frames, device=s.device)
        window = (place // size).expand(s.mask.shape)
        moves = s.mask.new_zeros(s.mask.shape)
        for lag in range(1, size):  # a lag at a time: pairs of a long window would fill the memory
            unlike = (cosine(u[:, lag:], u[:, :-lag]) < least) & s.mask[:, lag:]
            moves[:, lag:] |= unlike & (place[lag:] % size >= lag)  # both in one window
        still = torch.zeros_like(window).scatter_add(1, window, moves.long()) == 0
        return from_starts((place % size == 0) | ~still.gather(1, window))

    def stream(self, b: Budget) -> Streamer:
        """A streaming form; a token waits for its window to end."""
        self.check_stream(b)
        window = self.window if b.kind == "threshold" else streamed(self, b)
        return WindowStreamer(self, b, window=window)

    def _window(self, b: Budget) -> int:
        return self.window if b.kind == "threshold" else whole(self, b)


def _rounds(x: Tensor, size: Tensor, mask: Tensor, counts: Tensor, b: Budget) -> Tensor:
    """Plan [B, T] of rounds of pairs, each more alike than those beside it."""
    place = torch.arange(mask.shape[1], device=x.device)
    plan = place.expand(mask.shape)
    lengths = mask.sum(1)
    sums, weight = x * size[..., None], size.to(x.dtype)
    while sums.shape[1] > 1:
        u = unit(sums / weight.clamp(min=1)[..., None])
        like = cosine(u[:, 1:], u[:, :-1])
        inside = torch.arange(1, sums.shape[1], device=x.device) < lengths[:, None]
        if b.kind == "threshold":
            inside &= like >= b.value
        need = lengths - (1 if b.kind == "threshold" else counts)
        _, chosen = cheapest((-like).masked_fill(~inside, float("inf")), need, share=1.0)
        if not bool(chosen.any()):
            break
        lengths = lengths - chosen.sum(1)
        step = from_starts(F.pad(~chosen, (1, 0), value=True))
        step = step.clamp(max=int(lengths.max()) - 1)  # only padding, zeros, lies beyond
        slots = int(lengths.max())
        shape = (len(x), slots, x.shape[-1])
        sums = x.new_zeros(shape).scatter_add(1, step[..., None].expand_as(sums), sums)
        weight = x.new_zeros(shape[:2]).scatter_add(1, step, weight)
        plan = step.gather(1, plan.clamp(max=step.shape[1] - 1))
    return plan
