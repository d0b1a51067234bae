"""Convert a checkpoint of Omni-AVSR or Llama-AVSR to this project's format.

    python tools/convert_author.py model_avg_4.pth --llm meta-llama/Llama-3.2-1B \\
        --audio-rates 4,16 --video-rates 2,5 --out omni-avsr

What was trained becomes a model folder; the encoders, whose batch statistics drifted in training
and whose low-rank layers are merged here, become folders beside it. The LLM is only compared: it
must be the one the checkpoint was trained in. Rates are given in the order of training, for the
checkpoint numbers its projectors. Sound is then levelled and padded to 30 s, and pooling drops the
tail, as in the authors' code; a stacking checkpoint is read with its tail repeated, which they
dropped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import author_keys
import tame_pickle
import torch
from author_keys import Parts
from safetensors.torch import save_file
from torch import Tensor

from avsr.checkpoint import save_model
from avsr.config import AvsrConfig
from avsr.errors import AvsrError
from avsr.language_model import load_llm
from avsr.model import AvsrModel
from avsr.projector import ProjectorConfig
from avsr.weights import resolve
from experts import LoraConfig
from experts.rows import TASKS
from frontends.audio_tower import WhisperShape, WhisperTower
from frontends.avhubert import AvHubert, encoder_state, shape_of
from frontends.avhubert_tower import AvHubertTower

ENCODER_SCALE = 2.0  # of the low-rank layers in the authors' AV-HuBERT
MARKERS = 4  # <audio> </audio> <video> </video>, the last rows that they added


def convert(
    path: Path,
    out: Path,
    *,
    llm: str,
    rates: Mapping[str, tuple[int, ...]],
    compress: str = "pool",
    scale: float = 0.125,
    heads: int | None = None,
) -> Path:
    """Convert one checkpoint.

    Args:
        path: `.pth` of averaged weights, or `.ckpt` of Lightning.
        out: folder for the model, its `whisper` and `avhubert`.
        llm: the LLM it was trained in, as `avsr.weights.resolve` takes it.
        rates: "audio" and "video" rates in the order of training; empty for a stream it has not.
        compress: "pool" or "stack".
        scale: of the low-rank layers: alpha by the reduction factor (4/32 and 8/64 in the authors'
            recipes).
        heads: of AV-HuBERT, None for one each 64 of its width.

    Returns:
        The model folder.

    Raises:
        ValueError: a tensor that is not known, missing or of the wrong shape, or another LLM.
    """
    parts = author_keys.sort(_state(path))
    for kind, held in (("audio", parts.whisper), ("video", parts.avhubert)):
        if bool(held) != bool(rates[kind]):
            told = "has one" if held else "has none"
            raise ValueError(f"{kind} rates {list(rates[kind])}, but as {kind} encoder it {told}")
    base, tokenizer = load_llm(resolve(llm), torch.bfloat16)
    table = _compare(parts.llm, base)
    whisper = _whisper(parts.whisper, out / "whisper") if rates["audio"] else None
    lips = _lips(parts, out / "avhubert", heads) if rates["video"] else None
    projectors = _projectors(parts, rates)
    config = AvsrConfig(
        language_model=llm,
        audio_tower="whisper-tiny.en" if whisper is None else str((out / "whisper").resolve()),
        video_tower=None if lips is None else str((out / "avhubert").resolve()),
        audio_rates=rates["audio"],
        video_rates=rates["video"],
        compress={"name": "pool", "tail": "drop"} if compress == "pool" else {"name": "stack"},
        projector=_form(projectors),
        **_method(parts),
    )
    widths = {
        "audio_width": 1 if whisper is None else whisper.shape.d_model,
        "video_width": None if lips is None else lips.width,
    }
    model = AvsrModel(config, base, tokenizer, **widths)
    state = {"prompter.markers": table[-MARKERS:].float()}
    for name, layers in projectors.items():
        for theirs, ours in (("0", "first"), ("2", "second"), ("3", "norm")):
            for which in ("weight", "bias"):
                if f"{theirs}.{which}" in layers:
                    key = f"multi_modal_projector.{name}.{ours}.{which}"
                    state[key] = layers[f"{theirs}.{which}"].float()
    state |= _adapter(parts, config, scale)
    _load(model, state)
    facts = {"converted_from": path.name, "compress": compress, "lora_scale": scale}
    save_model(model, out / "model", dtype=torch.float32, training=facts)
    return out / "model"


def _state(path: Path) -> Mapping[str, Tensor]:
    loaded = tame_pickle.load(path)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not state:
        raise ValueError("there is no state dict in the checkpoint")
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise ValueError(f"{strange[0]!r} of the checkpoint is no tensor")
    return state


def _compare(state: Mapping[str, Tensor], llm: Any) -> Tensor:
    """Check that the checkpoint's LLM is this one; return its embeddings, with the added rows."""
    own = dict(llm.named_parameters())
    unknown = sorted(name for name in state if name not in own and name != "lm_head.weight")
    missing = sorted(name for name in own if name not in state)
    if unknown or missing:
        what, name = ("unknown", unknown[0]) if unknown else ("missing", missing[0])
        raise ValueError(f"llm.{name} is {what}: the checkpoint was made in another LLM")
    table = state["model.embed_tokens.weight"]
    for name, value in own.items():
        theirs = state[name]
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            theirs = theirs[: len(value)]
        if theirs.shape != value.shape:
            raise ValueError(
                f"llm.{name} is {tuple(theirs.shape)}, and {tuple(value.shape)} in the LLM named"
            )
        rows = slice(0, 64)  # the whole of the norms, and a part of what is large
        if not torch.equal(theirs[rows].to(torch.bfloat16), value[rows].to(torch.bfloat16)):
            raise ValueError(f"llm.{name} differs from the LLM named: another one, or fine-tuned")
    added = len(table) - len(own["model.embed_tokens.weight"])
    if added < MARKERS:
        raise ValueError(f"{added} rows were added to llm.model.embed_tokens, {MARKERS} are needed")
    return table


def _whisper(state: Mapping[str, Tensor], folder: Path) -> WhisperTower:
    """Write the encoder of sound."""
    try:
        layers = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("layers."))
        width, mels, _ = state["conv1.weight"].shape
        shape = WhisperShape(
            d_model=width,
            encoder_layers=layers,
            encoder_attention_heads=max(1, width // 64),
            encoder_ffn_dim=len(state["layers.0.fc1.bias"]),
            num_mel_bins=mels,
            max_source_positions=len(state["embed_positions.weight"]),
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"audio_encoder is no Whisper encoder: {error}") from error
    tower = WhisperTower(shape, pad="30s", level="utterance")
    _strictly(tower, state, "audio_encoder")
    folder.mkdir(parents=True, exist_ok=True)
    facts = {**vars(shape), "model_type": "whisper", "avsr_pad": "30s", "avsr_level": "utterance"}
    (folder / "config.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    whole = {f"model.encoder.{k}": v.float().contiguous() for k, v in tower.state_dict().items()}
    save_file(whole, folder / "model.safetensors")
    return tower


def _lips(parts: Parts, folder: Path, heads: int | None) -> AvHubertTower:
    """Write the encoder of lips, its low-rank layers merged, its batch statistics as they are."""
    state = encoder_state(parts.avhubert)
    for (layer, target), pair in parts.avhubert_lora.items():
        name = f"encoder.layers.{layer}.self_attn.{target}.weight"
        if name not in state:
            raise ValueError(f"video_encoder.{name} is missing")
        update = ENCODER_SCALE * pair["up"].double() @ pair["down"].double()
        state[name] = (state[name].double() + update).float()
    net = AvHubert(shape_of(state, heads=heads))
    _strictly(net, state, "video_encoder")
    tower = AvHubertTower(net)
    tower.save(folder, dtype=torch.float32, source="the video encoder of an authors' checkpoint")
    return tower


def _projectors(parts: Parts, rates: Mapping[str, tuple[int, ...]]) -> dict[str, dict[str, Tensor]]:
    """Projectors under our names: a numbered one a rate, or one that all rates share."""
    found = {}
    for kind, listed in rates.items():
        numbers = sorted(n for k, n in parts.projectors if k == kind and n is not None)
        alone = parts.projectors.get((kind, None))
        if alone is None and numbers != list(range(len(listed))):
            raise ValueError(f"{kind} projectors {numbers} for the rates {list(listed)}")
        if alone is not None and numbers:
            raise ValueError(f"{kind}_proj is both one and several")
        for number, rate in enumerate(listed):
            layers = parts.projectors[kind, number] if alone is None else alone
            if not {"0.weight", "0.bias", "2.weight", "2.bias"} <= set(layers):
                raise ValueError(f"the {kind} projector of rate {rate} lacks a layer")
            found[f"{kind}_{rate}"] = layers
    return found


def _form(projectors: Mapping[str, Mapping[str, Tensor]]) -> ProjectorConfig:
    widths = {len(layers["0.bias"]) for layers in projectors.values()}
    norms = {"3.weight" in layers for layers in projectors.values()}
    if len(widths) != 1 or len(norms) != 1:
        raise ValueError(f"projectors of different forms: widths {sorted(widths)}")
    form = "plain-norm" if norms.pop() else "plain"
    return ProjectorConfig(width=widths.pop(), dropout=0.0, form=form)  # type: ignore[arg-type]


def _method(parts: Parts) -> dict[str, Any]:
    """Method and sizes of the low-rank layers; the scale goes into the weights."""
    if not parts.lora:
        raise ValueError("the checkpoint has no low-rank layers in its LLM")
    names = {("shared",): "omni-s", ("task",): "omni-t", ("shared", "task"): "omni-st"}
    ranks = {len(pair["down"]) for pair in parts.lora.values()}
    if len(ranks) != 1:
        raise ValueError(f"low-rank layers of different ranks {sorted(ranks)}")
    (rank,) = ranks
    return {"method": names[parts.banks], "lora": LoraConfig(rank=rank, alpha=rank)}


def _adapter(parts: Parts, config: AvsrConfig, scale: float) -> dict[str, Tensor]:
    """The low-rank layers under our names; a task that was not trained has an update of zero."""
    state = {}
    layers = 1 + max(layer for layer, _, _ in parts.lora)
    for layer in range(layers):
        for place, target in enumerate(config.lora.targets):
            prefix = f"{config.method}.layers.{layer * len(config.lora.targets) + place}"
            for bank in parts.banks:
                wanted = ("shared",) if bank == "shared" else TASKS
                pairs = [parts.lora.get((layer, target, name)) for name in wanted]
                known = next((pair for pair in pairs if pair is not None), None)
                if known is None:
                    raise ValueError(f"layer {layer} has no low-rank {target} of bank {bank}")
                zero = {side: torch.zeros_like(value) for side, value in known.items()}
                filled = [zero if pair is None else pair for pair in pairs]
                state[f"{prefix}.down.{bank}"] = torch.stack([p["down"].float() for p in filled])
                ups = torch.stack([p["up"].float() for p in filled])
                state[f"{prefix}.up.{bank}"] = scale * ups
    return state


def _strictly(module: torch.nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Load tensors into a module; the first that does not fit is named."""
    own = module.state_dict()
    for key in sorted({*own, *state}):
        if key not in own or key not in state:
            raise ValueError(f"{name}.{key} is {'unknown' if key in state else 'missing'}")
        if own[key].shape != state[key].shape:
            told = f"{tuple(state[key].shape)}, not {tuple(own[key].shape)}"
            raise ValueError(f"{name}.{key} is {told}")
    module.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()})


def _load(model: AvsrModel, state: Mapping[str, Tensor]) -> None:
    try:
        _strictly(model, state, "model")
    except ValueError as error:
        raise ValueError(f"the checkpoint does not fit its rates and LLM: {error}") from error


def _rates(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(",") if word.strip())


def main() -> None:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--llm", required=True, help="folder or hub id it was trained in")
    parser.add_argument("--audio-rates", type=_rates, default=(), help="as trained: 4,16")
    parser.add_argument("--video-rates", type=_rates, default=(), help="as trained: 2,5")
    parser.add_argument("--compress", choices=["pool", "stack"], default="pool")
    parser.add_argument("--lora-scale", type=float, default=0.125, help="alpha / reduction factor")
    parser.add_argument("--heads", type=int, help="of AV-HuBERT (default: one each 64)")
    args = parser.parse_args()
    try:
        made = convert(
            args.checkpoint,
            args.out,
            llm=args.llm,
            rates={"audio": args.audio_rates, "video": args.video_rates},
            compress=args.compress,
            scale=args.lora_scale,
            heads=args.heads,
        )
    except (ValueError, AvsrError, tame_pickle.Refused) as error:
        raise SystemExit(f"{args.checkpoint}: {error}") from None
    print(f"avsr transcribe CLIP --model {made}")


if __name__ == "__main__":
    main()
