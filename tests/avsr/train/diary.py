"""A callback that writes down what a run trains on, and what it ends with."""

import json
import os
import signal
from pathlib import Path

from lightning.pytorch.callbacks import Callback
from safetensors.torch import save_file


class Diary(Callback):
    """Lines of `diary.jsonl`: step, clips, draw; weights at the end.

    Args:
        folder: where to.
        die_at: step after which the process kills itself as the system would, never if None.
    """

    def __init__(self, folder: str, die_at: int | None = None) -> None:
        self.folder, self.die_at = Path(folder), die_at

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._write(step=trainer.global_step, clips=[i.id for i in batch.items], draw=batch.draw)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_validation_end(self, trainer, pl_module):
        said = sum(len(pairs) for pairs in pl_module._said.values())
        self._write(validated=trainer.global_step, read=said)

    def on_fit_end(self, trainer, pl_module):
        if trainer.is_global_zero:
            save_file(pl_module.state_dict(), self.folder / "end.safetensors")

    def _write(self, **facts):
        with open(self.folder / "diary.jsonl", "a") as file:
            file.write(json.dumps(facts) + "\n")
