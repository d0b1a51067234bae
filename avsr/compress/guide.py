"""What may steer a compressor, beside the features themselves.

Data: instruction, expected words, the other modality, weights of frames -> Guide, for a stream.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from avsr.errors import ConfigError
from avsr.streams import TokenStream


class Guide(NamedTuple):
    """What may steer a compressor; each states in its card what it needs.

    Args:
        prompt: embeddings of the instruction [B, N, H].
        phrases: embeddings of expected words [N, H].
        other: stream of the other modality.
        density: weight of each frame [B, T].
        received: attention that each frame receives in the tower [B, T].
        keys: attention keys of the tower [B, T, D].
    """

    prompt: Tensor | None = None
    phrases: Tensor | None = None
    other: TokenStream | None = None
    density: Tensor | None = None
    received: Tensor | None = None
    keys: Tensor | None = None

    def check(self, s: TokenStream) -> None:
        """Refuse what is not of a stream's rows and frames.

        Raises:
            ConfigError: names the field, its shape and that of the stream; or weights of frames
                that are no numbers.
        """
        rows, frames = s.mask.shape
        other = None if self.other is None else self.other.x
        fields: list[tuple[str, Tensor | None, tuple[int | None, ...]]] = [
            ("prompt", self.prompt, (rows, None, None)),
            ("phrases", self.phrases, (None, None)),
            ("other", other, (rows, None, None)),
            ("density", self.density, (rows, frames)),
            ("received", self.received, (rows, frames)),
            ("keys", self.keys, (rows, frames, None)),
        ]
        for name, told, shape in fields:
            if told is None or (name == "prompt" and told.ndim == 3 and len(told) == 1):
                continue  # one prompt serves all rows
            if told.ndim != len(shape) or any(
                n not in (None, m) for n, m in zip(shape, told.shape, strict=True)
            ):
                raise ConfigError(
                    f"a guide's {name} is {list(told.shape)}, and the stream has {rows} rows of "
                    f"{frames} frames",
                    todo=f"Give {name} as {list(shape)}".replace("None", "any"),
                )
            if len(shape) == 2 and name != "phrases":
                real = told.detach().masked_fill(~s.mask.to(told.device), 0)
                if not bool(real.isfinite().all()):
                    raise ConfigError(
                        f"a guide's {name} is not finite", todo="Give a number for each frame"
                    )
