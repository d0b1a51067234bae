"""Batches in an order whose place survives a kill, whatever Lightning does with them.

Data: ClipDataset + BucketSampler -> Batch, Batch, ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from avsr.train.data import Batch, ClipDataset, Joint, collate
from avsr.train.sampler import BucketSampler
from frontends.noise import seed_of


class Loader:
    """Batches whose place can be saved, so that a killed run meets no clip twice and misses none.

    Lightning asks for `state_dict` after the batch in hand has been trained on: the place counts
    batches handed over, not those that worker processes have read ahead. This is no `DataLoader`
    but has one, for Lightning replaces the samplers of those that it knows.

    Args:
        dataset: what is read.
        sampler: in which order.
        workers: processes that read.
        passes: "endless" goes on from epoch to epoch, as fitting does: Lightning, which takes every
            epoch to be as long as the first, may then cut it anywhere without harm. "one" reads
            every clip once each time it is iterated.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        sampler: BucketSampler,
        workers: int = 0,
        passes: Literal["endless", "one"] = "endless",
    ) -> None:
        # Not named `sampler`, which is where Lightning looks to find a DataLoader's.
        self.dataset, self.order, self.passes = dataset, sampler, passes
        self._place = sampler.state_dict()
        self._length = len(sampler)
        self._batches: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=_Keyed(dataset, sampler),
            collate_fn=collate,
            num_workers=workers,
            # Of its own: else every pass would draw from the generator behind dropout, and a
            # resumed run would draw at other times than one that was never stopped.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Batches of the sampler's first epoch: what Lightning calls an epoch."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the place on, or all of them if one pass was asked for."""
        if self.passes == "one":
            self.order.epoch = self.order.position = 0
            yield from self._batches
            return
        while self._length > 0:
            self.load_state_dict(self._place)  # what was read ahead of it is read again
            for batch in self._batches:
                self._place["position"] += 1
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """Place in the run."""
        return dict(self._place)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a place in the run."""
        self.order.load_state_dict(state)
        self._place = self.order.state_dict()


class _Keyed:
    """Tells the dataset of each clip its epoch, on which augmentation depends, and its batch."""

    def __init__(self, dataset: ClipDataset, sampler: BucketSampler) -> None:
        self.dataset, self.sampler = dataset, sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[tuple[int, int, Joint]]]:
        for batch in self.sampler.joint():
            epoch, mine = self.sampler.epoch, self.sampler.shard(batch)
            first = self.dataset.entries[batch[0]][0].id
            joint = Joint(
                clips=len(batch),
                lips=sum(self.dataset.has_lips(index) for index in batch),
                mine=len(mine),
                processes=self.sampler.world,
                draw=seed_of(first, f"{self.dataset.seed} {epoch}"),
            )
            yield [(index, epoch, joint) for index in mine or batch[:1]]
