"""Convert an official AV-HuBERT checkpoint to safetensors and JSON, without fairseq.

    python tools/convert_avhubert.py large_vox_iter5.pt --out avhubert-large

Pre-trained and fine-tuned checkpoints are understood; of a fine-tuned one the encoder is taken. The
folder is then a tower by its path: `video_tower: avhubert-large`. Check the licence of what you
convert: the official models are for research that is not commercial.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tame_pickle
import torch
from torch import Tensor

from frontends.avhubert import AvHubert, AvHubertShape, encoder_state, shape_of
from frontends.avhubert_tower import AvHubertTower


def convert(path: Path, out: Path, *, heads: int | None = None) -> AvHubertShape:
    """Convert one checkpoint.

    Args:
        path: the official `.pt`.
        out: folder to write.
        heads: attention heads; None to take them from the checkpoint's configuration, or else one
            each 64 of the width.

    Returns:
        The sizes that were found.

    Raises:
        ValueError: the checkpoint is not an AV-HuBERT of a kind that is known.
        tame_pickle.Refused: the pickle asks for what it should not.
    """
    checkpoint = tame_pickle.load(path)
    state = _model(checkpoint)
    settings = _settings(checkpoint)
    if settings.get("layer_norm_first", True) is not True:
        raise ValueError("a post-norm encoder (layer_norm_first is false); only pre-norm is known")
    if settings.get("modality_fuse", "concat") != "concat":
        raise ValueError(f"modality_fuse is {settings['modality_fuse']!r}; only concat is known")
    told = settings.get("encoder_attention_heads")
    encoder = encoder_state(state)
    shape = shape_of(encoder, heads=heads if heads is not None or type(told) is not int else told)
    with torch.device("meta"):
        net = AvHubert(shape)
    missing, unknown = _compare(net, encoder)
    if missing or unknown:
        raise ValueError(
            f"the checkpoint has {len(unknown)} tensors that the encoder has not {unknown[:5]} "
            f"and lacks {len(missing)} {missing[:5]}"
        )
    net.load_state_dict(encoder, assign=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    AvHubertTower(net).save(out, source=f"{path.name} sha256 {digest}")
    return shape


def _model(checkpoint: Any) -> Mapping[str, Tensor]:
    """The tensors under "model"."""
    state = checkpoint.get("model") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not state:
        raise ValueError("there is no state dict under 'model' in the checkpoint")
    strange = [k for k, v in state.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if strange:
        raise ValueError(f"{strange[0]!r} of the checkpoint's model is no tensor")
    return state


def _settings(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The encoder's part of the configuration, as far as it can be seen."""
    found = tame_pickle.plain(checkpoint.get("cfg"))
    for key in ("model", "w2v_args", "model"):  # a fine-tuned model holds its encoder's within
        inner = found.get(key) if isinstance(found, dict) else None
        found = inner if isinstance(inner, dict) else found
    return found if isinstance(found, dict) else {}


def _compare(net: AvHubert, state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Names that are missing, and names that are too many or of another shape."""
    own = {k: v.shape for k, v in net.state_dict().items()}
    missing = [k for k in own if k not in state]
    return missing, [k for k, v in state.items() if own.get(k) != v.shape]


def main() -> None:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--heads", type=int, help="attention heads (default: as configured)")
    args = parser.parse_args()
    try:
        shape = convert(args.checkpoint, args.out, heads=args.heads)
    except (ValueError, tame_pickle.Refused) as error:
        raise SystemExit(f"{args.checkpoint}: {error}") from None
    print(f"{args.out}: {shape}")


if __name__ == "__main__":
    main()
