"""The training objective as a LightningModule: every rate pair or a drawn one, one LLM forward.

Data: Batch -> Losses. Frozen towers were run once, by the data module; all views of a step share
one LLM forward.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from safetensors.torch import load_file
from torch import Tensor

from avsr.checkpoint import ALIGNMENT, build_model, save_alignment, save_model
from avsr.config import AvsrConfig
from avsr.ctc import EmbeddingCtc
from avsr.errors import ConfigError
from avsr.hotwords import asks, drawn
from avsr.manifest import read_manifest
from avsr.model import AvsrModel
from avsr.precision import choose_dtype
from avsr.rates import Rates
from avsr.score import score
from avsr.spoken import listener
from avsr.start import Start, take_over
from avsr.streams import TokenStream
from avsr.train.data import Batch
from avsr.train.objective import Objective, Schedule
from avsr.train.readings import Reading, read_alignment, read_batch
from avsr.views import Features, View, task_of
from experts import Task
from experts.sizes import whole

CHANCE = "avsr_random_state"  # key in a training checkpoint


class AvsrTask(lightning.LightningModule):
    """Trains projectors, markers and experts.

    Args:
        model: configuration of the recogniser.
        objective: what is minimised.
        schedule: how.
        start: checkpoint folders to start from, later ones win; what belongs to other rates starts
            from the nearest. Empty for fresh weights.
        align_only: "yes" trains the projectors by CTC alone, without an LLM forward.
        vocabulary: manifest whose train transcripts' tokens are the classes of the CTC loss, None
            without CTC.
        dtype: of the frozen LLM, as `avsr.precision.choose_dtype` takes it.
        seed: of the initial weights and of the drawn tasks and rates.

    Raises:
        ValueError: an objective that the model has no rates for, or CTC without a vocabulary.
        ModelError: a folder to start from holds no model, or none of which anything fits.
    """

    def __init__(
        self,
        model: AvsrConfig,
        objective: Objective = Objective(),
        schedule: Schedule = Schedule(),
        start: tuple[str, ...] = (),
        align_only: Literal["yes", "no"] = "no",
        vocabulary: str | None = None,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        whole(0, seed=seed)
        objective.check(model)
        if align_only == "yes" and not objective.ctc_rates:
            raise ValueError("align_only trains the projectors of objective.ctc_rates: name some")
        aligned = objective.ctc > 0 or align_only == "yes"
        if aligned and vocabulary is None:
            raise ValueError("a CTC loss needs the transcripts that its vocabulary comes from")
        said = [] if vocabulary is None else read_manifest(vocabulary, lambda i: i.split == "train")
        self.objective, self.schedule, self.align_only = objective, schedule, align_only
        self.seed = seed
        self._chance: list[Tensor] | None = None
        starts = [Start.read(folder) for folder in start]
        self.model: AvsrModel = build_model(model, dtype=choose_dtype(dtype), seed=seed)
        fresh = take_over(self.model, starts)
        if starts and fresh:
            rank_zero_info(f"not in {', '.join(start)}, so begun anew: {', '.join(fresh)}")
        if asks(self.model) != (objective.phrases > 0):
            there = "there" if asks(self.model) else "not there"
            what = f"objective.phrases={objective.phrases}, but a compressor guided by phrases is"
            raise ValueError(f"{what} {there}")
        self.ctc: EmbeddingCtc | None = None
        if aligned:
            ids = {i for clip in said for i in self.model.tokenizer.encode(" " + clip.text)}
            table = self.model.llm.get_input_embeddings().weight
            self.ctc = EmbeddingCtc(table, sorted(ids))
            self.model.density = listener(self.model, self.ctc)
            kept = [p for p in (Path(folder) / ALIGNMENT for folder in start) if p.is_file()]
            if kept:
                state = load_file(kept[-1])
                self.ctc.load_state_dict({k: state[k] for k in self.ctc.state_dict()})

    def views(self, batch: Batch) -> list[View]:
        """Rate pairs at which each clip of a batch is read.

        In mode "sample" a task and a rate pair are drawn for the whole joint batch: sequences of
        one kind are of like length, so little of the LLM's work is padding. Clips without lips are
        then read by sound at the pair's audio rate, or one that is drawn for them; where sound
        alone is not wanted, they are left out.
        """
        pairs = self._pairs()
        seen = batch.features.video
        lips = [False] * len(batch.items) if seen is None else (seen.lengths > 0).tolist()
        some = any(lips) if batch.joint is None else batch.joint.lips > 0
        chances = {
            task: chance
            for task, chance in self.objective.tasks.items()
            if chance > 0 and pairs[task] and (some or task == "a")
        }
        if self.objective.matryoshka == "all":
            return [
                View(row, rates)
                for row in range(len(batch.items))
                for task in chances
                if lips[row] or task == "a"
                for rates in pairs[task]
            ]
        if not chances:
            return []
        rng = np.random.default_rng([self.seed, batch.draw])
        shares = np.array(list(chances.values()))
        drawn = list(chances)[int(rng.choice(len(shares), p=shares / shares.sum()))]
        weights = self.objective.rate_weights
        if not some and self.objective.sound_rate_weights:
            weights = self.objective.sound_rate_weights
        rates = pairs[drawn][self._draw(pairs[drawn], weights, rng)]
        if "a" not in chances:
            return [View(row, rates) for row, has in enumerate(lips) if has]
        if rates.audio is not None:
            alone = Rates(rates.audio, None)
        else:
            alone = pairs["a"][self._draw(pairs["a"], weights, rng)]
        return [View(row, rates if lips[row] else alone) for row in range(len(batch.items))]

    def encoded(self, batch: Batch) -> Batch:
        """The batch with the features of towers that run in the step.

        Raises:
            ConfigError: those are not the towers that have low-rank layers.
        """
        adapted = sorted(self.model.config.tower_lora)
        if adapted != sorted(batch.fresh):
            raise ConfigError(
                f"the model trains the towers {adapted}, but the data reads {sorted(batch.fresh)}"
                " fresh",
                todo="Name the same in the model's tower_lora and in data.fresh.",
            )
        if self.model.towers is None:
            return batch
        towers = dict(zip(("audio", "video"), self.model.towers, strict=True))
        made: dict[str, TokenStream | None] = {}
        for kind, fresh in batch.fresh.items():
            tower = towers[kind]
            assert tower is not None  # the configuration has looked
            if int(fresh.lengths.max()) == 0:
                made[kind] = None
                continue
            x, lengths = tower.to(self.device)(fresh.inputs, fresh.lengths)
            made[kind] = TokenStream.from_features(x, lengths, tower.hz)
        return replace(batch, features=replace(batch.features, **made))

    def _pairs(self) -> dict[Task, list[Rates]]:
        """Rate pairs of each task."""
        audio, video = self.model.rates["audio"], self.model.rates["video"]
        return {
            "a": [Rates(a, None) for a in audio],
            "v": [Rates(None, v) for v in video],
            "av": [Rates(a, v) for a, v in product(audio, video)],
        }

    def _shares(self, batch: Batch, views: int) -> tuple[float, float]:
        """Weights of this process's mean over its views, and over its clips.

        DDP averages gradients over processes as if all had read as much. The mean over a joint
        batch weighs each process by what it read; without DDP both are 1.
        """
        joint = batch.joint
        if joint is None or joint.processes == 1:
            return 1.0, 1.0
        if joint.mine == 0:
            return 0.0, 0.0
        every = joint.clips if self.objective.tasks.get("a", 0) > 0 else joint.lips
        if self.objective.matryoshka == "all":
            counts = {t: len(p) for t, p in self._pairs().items()}
            tasks = [t for t, chance in self.objective.tasks.items() if chance > 0]
            by_sound = counts["a"] if "a" in tasks else 0
            every = joint.lips * sum(counts[t] for t in tasks)
            every += (joint.clips - joint.lips) * by_sound
        by_clips = joint.processes * joint.mine / joint.clips
        return joint.processes * views / max(1, every), by_clips

    def _draw(
        self, pairs: Sequence[Rates], weights: Sequence[float], rng: np.random.Generator
    ) -> int:
        """Index of a rate pair, by its own weight and its audio rate's."""
        chances = np.array(self._pair_weights(pairs), dtype=float)
        if weights:
            by_rate = dict(zip(self.model.rates["audio"], weights, strict=True))
            chances *= [by_rate.get(p.audio, 1.0) for p in pairs]  # type: ignore[arg-type]
        return int(rng.choice(len(pairs), p=chances / chances.sum()))

    def _pair_weights(self, pairs: Iterable[Rates]) -> list[float]:
        return [self.objective.pair_weights.get(str(rates), 1.0) for rates in pairs]

    def _misled(self, batch: Batch, views: Sequence[View]) -> Features:
        """Features of a batch, in an audio-visual one with some clips' lips from the next clip."""
        video = batch.features.video
        both = all(task_of(view.rates) == "av" for view in views)
        if self.objective.misled == 0 or video is None or not both:
            return batch.features
        rng = np.random.default_rng([self.seed, batch.draw, 1])
        own = torch.arange(len(batch.items))
        swapped = torch.from_numpy(rng.random(len(own)) < self.objective.misled)
        rows = torch.where(swapped, own.roll(-1), own).to(video.x.device)
        lips = TokenStream.from_features(video.x[rows], video.lengths[rows], video.hz)
        return replace(batch.features, video=lips)

    def _slipped(self, batch: Batch) -> Sequence[Tensor]:
        """What the LLM reads as the words so far, some of it wrong; what it must say stays."""
        if self.objective.slips == 0:
            return batch.texts
        rng = np.random.default_rng([self.seed, batch.draw, 2])
        every = torch.cat(list(batch.texts))
        out = []
        for text in batch.texts:
            wrong = torch.from_numpy(rng.random(len(text)) < self.objective.slips)
            other = torch.from_numpy(rng.integers(len(every), size=len(text)))
            out.append(torch.where(wrong.to(text.device), every[other.to(text.device)], text))
        return out

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """One step over all views of a batch."""
        batch = self.encoded(batch)
        total = torch.zeros((), device=self.device)
        views = self.views(batch) if self.align_only == "no" else []
        by_views, by_clips = self._shares(batch, len(views))
        if views:
            every = self.objective.matryoshka == "all"  # else the weights are in the draw
            features = self._misled(batch, views)
            if self.objective.phrases:
                seed = (self.seed, batch.draw, 3)
                self.model.phrases = drawn(self.model, batch.texts, self.objective.phrases, seed)
            losses = self.model(
                features,
                views,
                batch.texts,
                read=self._slipped(batch),
                weights=self._pair_weights(view.rates for view in views) if every else None,
                balance=self.objective.balance,
                distil=self.objective.distil,
            )
            total = total + by_views * losses.total
            self._log("text", losses.text)
            self._log("balance", losses.balance)
            if losses.distil is not None:
                self._log("distil", losses.distil)
        if self.ctc is not None:
            align = self._align(batch)
            self._log("ctc", align)
            weight = 1.0 if self.align_only == "yes" else self.objective.ctc
            total = total + by_clips * weight * align
        if not total.requires_grad:  # nothing of this batch is wanted; others may wait for us
            total = total + 0.0 * self.model.prompter.markers.sum()
        self._log("loss", total)
        return total

    def _align(self, batch: Batch) -> Tensor:
        """CTC loss of the chosen projectors, mean over them."""
        assert self.ctc is not None
        total = torch.zeros((), device=self.device)
        for name in self.objective.ctc_rates:
            kind, rate = name.split("_")
            if getattr(batch.features, kind) is None:
                continue
            only = Rates(int(rate), None) if kind == "audio" else Rates(None, int(rate))
            stream = self.model.tokens(batch.features, [View(0, only)])[name]
            total = total + self.ctc(stream, batch.texts)
        return total / len(self.objective.ctc_rates)

    def _log(self, name: str, value: Tensor) -> None:
        self.log(f"train/{name}", value.detach(), prog_bar=name == "loss", batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep where the chance of dropout stands."""
        checkpoint[CHANCE] = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go back there before the next step; setting up the run may draw before it."""
        self._chance = checkpoint.get(CHANCE)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Let the adapter update what it learns without gradients, once a step."""
        self.model.adapter.settle()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Of a resumed run's first batch: dropout as in a run that was never stopped."""
        if self._chance is not None:
            torch.set_rng_state(self._chance[0].cpu())
            if len(self._chance) - 1 == torch.cuda.device_count():
                torch.cuda.set_rng_state_all([state.cpu() for state in self._chance[1:]])
            self._chance = None

    def on_validation_epoch_start(self) -> None:
        """Forget the last round's transcripts, and the words of the last batch."""
        self.model.phrases = None
        self._said: dict[str, list[tuple[str, str]]] = {}

    def validation_step(self, batch: Batch, index: int, dataloader_idx: int = 0) -> None:
        """Read a batch in every way that is validated."""
        for reading in self.predict_step(batch, index):
            self._said.setdefault(reading.view, []).append((reading.reference, reading.text))

    def on_validation_epoch_end(self) -> None:
        """Word error of each way over all clips, and their mean to select by."""
        self._report("val")

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        """The same of test clips, under their own name."""
        self._report("test")

    def _report(self, split: str) -> None:
        values = []
        for name, pairs in self._said.items():
            truth, said = zip(*pairs, strict=True)
            values.append(score(truth, said, samples=0).wer)
            self.log(f"{split}/{name}", values[-1], sync_dist=True)
        if values:
            self.log(f"{split}/wer", float(np.mean(values)), prog_bar=True, sync_dist=True)

    def predict_step(self, batch: Batch, index: int, dataloader_idx: int = 0) -> list[Reading]:
        """Transcripts of a batch: by the model, or by its projectors if they alone are trained."""
        batch = self.encoded(batch)
        if self.align_only == "yes":
            assert self.ctc is not None
            return read_alignment(self.model, self.ctc, batch, self.objective.ctc_rates)
        return read_batch(self.model, batch, self.objective.tasks, self.ctc)

    def configure_optimizers(self) -> Any:
        """AdamW with two peak rates; biases do not decay, also stacked ones, nor other vectors."""
        groups = []
        projector = list(self.model.multi_modal_projector.named_parameters())
        projector += [] if self.ctc is None else list(self.ctc.named_parameters())
        known = {id(p) for _, p in projector}
        rest = [] if self.align_only == "yes" else list(self.model.named_parameters())
        rest = [(name, p) for name, p in rest if id(p) not in known]
        schedule = self.schedule
        for named, lr in ((projector, schedule.projector_lr), (rest, schedule.lr)):
            matrices = [p for name, p in named if p.ndim > 1 and not name.endswith("bias")]
            vectors = [p for name, p in named if p.ndim <= 1 or name.endswith("bias")]
            for decay, chosen in ((schedule.weight_decay, matrices), (0.0, vectors)):
                if chosen and lr > 0:
                    groups.append({"params": chosen, "lr": lr, "weight_decay": decay})
        optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule.at)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def save(self, folder: Path | str, **facts: Any) -> None:
        """Write what was trained as a checkpoint folder, and the alignment for a next stage."""
        save_model(self.model, folder, **facts)
        if self.ctc is not None:
            save_alignment(self.ctc, folder)
