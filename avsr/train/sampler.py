"""Seeded batches of clips of like length, whose place survives a kill.

Data: durations -> lists of indices. The batches of an epoch are a pure function of (seed, epoch),
so resuming needs only two numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler


class BucketSampler(Sampler[list[int]]):
    """Batches under a limit of seconds, each of clips of similar length, in random order.

    Args:
        durations: seconds of each clip.
        batch_seconds: most seconds in a batch, counting each clip as long as the batch's longest.
        max_clips: most clips in a batch.
        jitter: clips are sorted by duration times a factor drawn from 1 ± jitter, so batches change
            every epoch.
        seed: of order and membership.
        rank: this process under distributed training.
        world: number of processes; every joint batch is dealt out evenly among them, and does not
            depend on how many they are.
    """

    def __init__(
        self,
        durations: Sequence[float],
        *,
        batch_seconds: float,
        max_clips: int = 64,
        jitter: float = 0.15,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if world < 1 or not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world} processes")
        self.durations = np.asarray(durations, dtype=np.float64)
        self.batch_seconds, self.max_clips = batch_seconds, max_clips
        self.jitter, self.seed, self.rank, self.world = jitter, seed, rank, world
        self.epoch, self.position = 0, 0

    def batches(self, epoch: int) -> list[list[int]]:
        """All joint batches of an epoch, before they are dealt out."""
        rng = np.random.default_rng([self.seed, epoch])
        noisy = self.durations * rng.uniform(1 - self.jitter, 1 + self.jitter, len(self.durations))
        out: list[list[int]] = []
        batch: list[int] = []
        longest = 0.0
        for index in np.argsort(noisy, kind="stable").tolist():
            longest_now = max(longest, self.durations[index])
            full = longest_now * (len(batch) + 1) > self.batch_seconds
            if batch and (full or len(batch) == self.max_clips):
                out.append(batch)
                batch, longest_now = [], self.durations[index]
            batch.append(index)
            longest = longest_now
        if batch:
            out.append(batch)
        return [out[i] for i in rng.permutation(len(out))]

    def shard(self, batch: list[int]) -> list[int]:
        """What this process reads of a joint batch; nothing if there are fewer clips than ranks."""
        return batch[self.rank :: self.world]

    def joint(self) -> Iterator[list[int]]:
        """Joint batches from the current position to the end of the epoch.

        The position counts what was given out. Behind the last batch of an epoch stands the next
        epoch, whether or not the caller came back to hear that there are no more.
        """
        batches = self.batches(self.epoch)
        if self.position >= len(batches):
            self.epoch, self.position = self.epoch + 1, 0
            batches = self.batches(self.epoch)
        for batch in batches[self.position :]:
            self.position += 1
            yield batch
        self.epoch, self.position = self.epoch + 1, 0

    def __iter__(self) -> Iterator[list[int]]:
        """Batches of this process from the current position to the end of the epoch."""
        for batch in self.joint():
            yield self.shard(batch)

    def __len__(self) -> int:
        """Number of batches in the current epoch, the same on every rank."""
        return len(self.batches(self.epoch))

    def state_dict(self) -> dict[str, Any]:
        """Place in the run."""
        return {"epoch": self.epoch, "position": self.position, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a place in the run.

        Raises:
            ValueError: the place belongs to a run with another seed.
        """
        if state["seed"] != self.seed:
            raise ValueError(f"resuming seed {state['seed']} with seed {self.seed}")
        self.epoch, self.position = state["epoch"], state["position"]
        if self.position >= len(self):
            self.epoch, self.position = self.epoch + 1, 0
