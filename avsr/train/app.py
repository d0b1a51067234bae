"""`avsr train fit|validate|test|predict -c recipes/...`: LightningCLI over the task and the data.

Data: YAML -> AvsrTask, SpeechData, Trainer. The rate is never a saved hyper-parameter.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from avsr.errors import ConfigError
from avsr.train.data import Batch
from avsr.train.datamodule import SpeechData
from avsr.train.module import AvsrTask
from avsr.train.readings import Reading


class TrainCLI(LightningCLI):
    """Says once what the task and the data share."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The data read the towers that the model's configuration names."""
        for part in ("language_model", "audio_tower", "video_tower"):
            parser.link_arguments(f"model.model.{part}", f"data.{part}")
        parser.link_arguments("model.model.tower_lora", "data.fresh", _adapted)

    def instantiate_classes(self) -> None:
        """Make task, data and trainer.

        Raises:
            ConfigError: settings that make none.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            told = "Correct it in the recipe or after it on the command line."
            raise ConfigError(str(error), todo=told) from error


def _adapted(tower_lora: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Modalities whose tower is trained, and so has to run in the step."""
    return tuple(sorted(tower_lora or ()))


class Export(Callback):
    """Writes a checkpoint folder of trained parts whenever Lightning saves one, and at the end.

    Args:
        folder: where to.
        lip_encoder: folder of the lip encoder to store beside it.
    """

    def __init__(self, folder: str, lip_encoder: str | None = None) -> None:
        self.folder, self.lip_encoder = folder, lip_encoder

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Look before the work whether there is something to store.

        Raises:
            ConfigError: no such lip encoder.
        """
        if self.lip_encoder is not None and not Path(self.lip_encoder).is_dir():
            raise ConfigError(
                "no such folder to store a lip encoder from",
                where=self.lip_encoder,
                todo="Correct lip_encoder of the Export callback.",
            )

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Export the final weights."""
        self._write(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """Export beside each saved state."""
        self._write(trainer, pl_module)

    def _write(self, trainer: Any, task: AvsrTask) -> None:
        if trainer.is_global_zero:
            tasks = [name for name, chance in task.objective.tasks.items() if chance > 0]
            facts = {"steps": trainer.global_step, "seed": task.seed, "tasks": sorted(tasks)}
            data = trainer.datamodule
            towers = data.towers() if isinstance(data, SpeechData) else {}
            task.save(
                Path(self.folder), lip_encoder=self.lip_encoder, training=facts, towers=towers
            )


class Predictions(Callback):
    """Writes what `predict` says, which Lightning's command would throw away.

    One JSON line a `Reading`, in `predictions.jsonl` of the trainer's root folder.
    """

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin anew."""
        self._append(trainer, [], mode="w")

    def on_predict_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Sequence[Reading],
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a batch."""
        self._append(trainer, [reading._asdict() for reading in outputs])

    def _append(self, trainer: Any, rows: Sequence[Mapping[str, str]], mode: str = "a") -> None:
        if trainer.is_global_zero:  # every process reads all that is held out
            path = Path(trainer.default_root_dir) / "predictions.jsonl"
            with path.open(mode, encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main(arguments: Sequence[str]) -> int:
    """Run one Lightning subcommand."""
    # sys.argv stays as it was: Lightning starts further processes with it.
    warnings.filterwarnings("ignore", "LightningCLI's args parameter is intended")
    TrainCLI(
        AvsrTask,
        SpeechData,
        args=list(arguments),
        seed_everything_default=0,
        trainer_defaults={"callbacks": [Predictions()]},
        save_config_kwargs={"overwrite": True},
    )
    return 0
