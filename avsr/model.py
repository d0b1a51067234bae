"""The recogniser: token streams through per-rate projectors into a frozen, widened LLM.

Data: tower features -> TokenStream at each wanted rate -> LLM sequences -> loss, or text by
avsr/decode.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.compress import Compressor, Guide
from avsr.compress.pair import build_pair
from avsr.config import AvsrConfig
from avsr.distil import distil_loss, teachers
from avsr.errors import ModelError
from avsr.language_model import TextTokenizer, scale_of
from avsr.projector_mixture import build_projector, clear_balance, mean_balance
from avsr.prompt import IGNORE, Prompter, Sequences, pad_left, pad_right
from avsr.streams import Budget, TokenStream
from avsr.views import Features, View, task_of
from experts import Adapter, widen
from frontends.tower_lora import attach
from frontends.towers import AudioTower, LipTower


@dataclass(frozen=True)
class Losses:
    """What a training step minimises, and its parts.

    Args:
        total: scalar to back-propagate.
        text: mean cross-entropy over sequences (arXiv 2510.04136, section 3.2).
        balance: load-balance loss of all routers, before its weight.
        per_view: cross-entropy of each sequence [V], detached.
        distil: divergence of coarse views from the finest one, before its weight; None without.
        compress: what the compressors ask for themselves, by their own weights; None for nothing.
    """

    total: Tensor
    text: Tensor
    balance: Tensor
    per_view: Tensor
    distil: Tensor | None = None
    compress: Tensor | None = None


class AvsrModel(nn.Module):
    """Projectors, markers and an adapter (experts, low-rank layers, ...) around a frozen LLM.

    The LLM is not a submodule: `state_dict` holds only what is trained.

    Args:
        config: sizes and rates.
        llm: frozen Llama- or Qwen-type causal LM from transformers.
        tokenizer: its tokenizer.
        audio_width: width of the audio tower's features.
        video_width: width of the video tower's features, None without one.
        seed: of the initial weights.
    """

    def __init__(
        self,
        config: AvsrConfig,
        llm: Any,
        tokenizer: TextTokenizer,
        *,
        audio_width: int,
        video_width: int | None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self._llm = (llm,)  # in a tuple, so that torch does not register the frozen LLM
        self._towers: tuple[AudioTower, LipTower | None] | None = None
        table = llm.get_input_embeddings().weight
        width = table.shape[1]
        gain, deviation = scale_of(table)
        widths = {"audio": audio_width, "video": video_width}
        self.compressors = build_pair(config.compress, widths, self.rates, words=width)
        self.density: Callable[[TokenStream, str], Tensor] | None = None  # who knows, says it here
        self.phrases: Tensor | None = None  # [N, H], as `avsr.hotwords` tells it
        self.multi_modal_projector = nn.ModuleDict()
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for kind, rates in self.rates.items():
                for rate in rates:
                    inputs = widths[kind]
                    if inputs is None:
                        raise ModelError(f"{kind} rates are configured, but there is no tower")
                    inputs = self.compressor_of(kind).width(inputs, Budget.rate(rate))
                    name = config.projector.name(kind, rate)
                    if name not in self.multi_modal_projector:
                        self.multi_modal_projector[name] = build_projector(
                            inputs, width, config.projector, gain=gain
                        )
        self.prompter = Prompter(width, deviation, generator)
        adapter = widen(llm, config.method, config.sizes, scales=config.scales, seed=seed)
        self.add_module(config.method, adapter)
        self._prompts = {
            task: torch.tensor(tokenizer.encode(text), device="cpu")
            for task, text in config.prompts.items()
        }

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "AvsrModel":
        """As torch's; the frozen parts, which torch does not know, come along to a device.

        A trainer moves a model by `to`; the dtype of the frozen parts stays what they were loaded
        in, and that of the trained parts float32: they are master weights.

        Raises:
            ModelError: another dtype is asked for.
        """
        dtype = fn(torch.empty(0)).dtype
        if dtype != torch.float32:
            raise ModelError(
                f"trained parts stay in float32, not in {str(dtype).removeprefix('torch.')}",
                todo="Load the frozen parts in it, by load_model(dtype=...), or train at precision "
                '"bf16-mixed".',
            )
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = next(self.parameters()).device
        for part in (*self._llm, *(self._towers or ())):
            if part is not None and next(part.parameters()).device != device:
                part.to(device)
        return self

    @property
    def llm(self) -> Any:
        """The frozen language model."""
        return self._llm[0]

    @property
    def towers(self) -> tuple[AudioTower, LipTower | None] | None:
        """The towers that this model trains low-rank layers in; None where they are apart."""
        return self._towers

    def adapt_towers(self, audio: AudioTower, video: LipTower | None, *, seed: int = 0) -> None:
        """Add the configured low-rank layers to the towers, which then belong to this model.

        Args:
            audio: encoder of sound.
            video: encoder of lips.
            seed: of the layers' initial weights.

        Raises:
            AvsrError: a tower has no such projections.
        """
        towers = {"audio": audio, "video": video}
        self.tower_lora = nn.ModuleDict(
            {
                kind: attach(towers[kind], sizes, seed=seed)
                for kind, sizes in self.config.tower_lora.items()
            }
        )
        self._towers = (audio, video)

    @property
    def adapter(self) -> Adapter:
        """What widens the language model."""
        found = self.get_submodule(self.config.method)
        assert isinstance(found, Adapter)
        return found

    @property
    def compressor(self) -> Compressor:
        """The compressor of sound, and of lips too unless they have their own."""
        return self.compressor_of("audio")

    def compressor_of(self, kind: str) -> Compressor:
        """The compressor of "audio" or "video"."""
        found = self.compressors[kind]
        assert isinstance(found, Compressor)
        return found

    @property
    def rates(self) -> Mapping[str, tuple[int, ...]]:
        """Trained rates of each modality."""
        return {"audio": self.config.audio_rates, "video": self.config.video_rates}

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.prompter.markers.device

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [...] -> the LLM's input embeddings [..., H]."""
        out: Tensor = self.llm.get_input_embeddings()(ids.to(self.device))
        return out

    def tokens(self, features: Features, views: Sequence[View]) -> dict[str, TokenStream]:
        """Compress and project each modality once at every rate that some view asks for.

        Returns:
            "audio_4" and the like -> stream of LLM embeddings [B, N, H] over all rows;
            "audio_4_seen" for views of both modalities, if the compressor looks at the other one
            and views of sound alone ask for that rate too.

        Raises:
            ModelError: a rate that was not trained, or a modality that the batch has not.
        """
        for rates in {view.rates for view in views}:
            self.config.check_rates(rates)
        out = {}
        for kind in ("audio", "video"):
            stream: TokenStream | None = getattr(features, kind)
            compressor = self.compressor_of(kind)
            seen = "other" in compressor.reads
            for alone in (True, False) if seen else (True,):
                asking = [v for v in views if not seen or alone == (task_of(v.rates) != "av")]
                wanted = sorted({getattr(v.rates, kind) for v in asking} - {None})
                if not wanted:
                    continue
                if stream is None:
                    raise ModelError(f"a view asks for {kind}, but the batch has none")
                budgets = [Budget.rate(rate) for rate in wanted]
                other = features.video if kind == "audio" else features.audio
                guide = self._guide(stream, kind, None if alone else other)
                for rate, short in zip(
                    wanted, compressor.multi(stream, budgets, guide), strict=True
                ):
                    name = f"{kind}_{rate}"
                    name = f"{name}_seen" if name in out else name
                    out[name] = self.project(short, kind, rate)
        return out

    def _guide(self, stream: TokenStream, kind: str, other: TokenStream | None) -> Guide | None:
        """What a compressor may look at: these views' other modality, a density, phrases."""
        density: Tensor | None = None
        if "density" in self.compressor_of(kind).reads:
            if self.density is None:
                raise ModelError(
                    "the compressor asks where something is said, and nobody tells this model",
                    todo="It takes the projectors' CTC: train with objective.ctc above 0.",
                )
            density = self.density(stream, kind)
        return Guide(phrases=self.phrases, other=other, density=density)

    def project(self, stream: TokenStream, kind: str, rate: int) -> TokenStream:
        """One compressed stream through the projector of its rate."""
        name = self.config.projector.name(kind, rate)
        x = self.multi_modal_projector[name](stream.x, stream.mask)
        return stream.replace(x=x)

    def sequences(
        self,
        features: Features,
        views: Sequence[View],
        texts: Sequence[Tensor] | None = None,
        read: Sequence[Tensor] | None = None,
    ) -> Sequences:
        """Lay out one LLM sequence a view.

        Args:
            features: tower features of the batch.
            views: which row at which rates.
            texts: transcript tokens [S] of each *row* to train on, None to generate.
            read: tokens [S] that the LLM reads in their place, None for the same.

        Returns:
            Right-padded with labels for training, left-padded for generation.

        Raises:
            ModelError: a rate that was not trained, or a modality that a view's clip has not.
        """
        return self.lay_out(self.tokens(features, views), views, texts, read)

    def lay_out(
        self,
        streams: Mapping[str, TokenStream],
        views: Sequence[View],
        texts: Sequence[Tensor] | None = None,
        read: Sequence[Tensor] | None = None,
    ) -> Sequences:
        """The same from projected streams, as `tokens` gives them.

        Args:
            streams: by projector.
            views: as in `sequences`.
            texts: as in `sequences`.
            read: as in `sequences`.
        """
        read = texts if read is None else read
        bos, eos = self.tokenizer.bos_id, self.tokenizer.eos_id
        before = self.embed(torch.tensor([] if bos is None else [bos], dtype=torch.long))
        prompts = {task: self.embed(ids) for task, ids in self._prompts.items()}
        rows, targets = [], []
        for view in views:
            parts = self.parts(streams, view)
            prompt = prompts[task_of(view.rates)]
            embedded = None if read is None else self.embed(read[view.row])
            rows.append(
                self.prompter.layout(parts["audio"], parts["video"], before, prompt, embedded)
            )
            if texts is not None:
                text = texts[view.row].to(self.device)
                targets.append(torch.cat([text, text.new_tensor([eos])]))
        return pad_left(rows) if texts is None else pad_right(rows, targets)

    def parts(self, streams: Mapping[str, TokenStream], view: View) -> dict[str, Tensor | None]:
        """What a view reads of the streams: "audio" and "video" [N, H], None where left out.

        Raises:
            ModelError: its clip has none of it.
        """
        parts: dict[str, Tensor | None] = {}
        for kind, rate in (("audio", view.rates.audio), ("video", view.rates.video)):
            name = f"{kind}_{rate}"
            if task_of(view.rates) == "av" and f"{name}_seen" in streams:
                name = f"{name}_seen"
            parts[kind] = None if rate is None else self._own(streams, name, view.row)
        return parts

    def _own(self, streams: Mapping[str, TokenStream], name: str, row: int) -> Tensor:
        """Tokens [N, H] of one row; a block without any would be a prompt never trained on."""
        stream, kind = streams[name], name.split("_")[0]
        count = int(stream.lengths[row])
        if count == 0:
            raise ModelError(
                f"a view asks for {kind}, but its clip has none",
                where=f"clip {row} of the batch",
                todo=f"Read that clip without {kind}.",
            )
        return stream.x[row, :count]

    def forward(
        self,
        features: Features,
        views: Sequence[View],
        texts: Sequence[Tensor],
        *,
        read: Sequence[Tensor] | None = None,
        weights: Sequence[float] | None = None,
        balance: float = 0.01,
        distil: float = 0.0,
    ) -> Losses:
        """Training loss over all views in one LLM forward.

        Args:
            features: tower features of the batch.
            views: which row at which rates; every combination for Matryoshka mode "all".
            texts: transcript tokens [S] of each row.
            read: tokens [S] that the LLM reads in their place, None for the same.
            weights: of each view's cross-entropy in the total, None for 1.
            balance: weight of the load-balance loss.
            distil: weight of the loss that makes each view predict what the finest view of the same
                clip and task predicts (`avsr.distil`).
        """
        clear_balance(self.multi_modal_projector)
        batch = self.sequences(features, views, texts, read)
        routed = mean_balance(self.multi_modal_projector)
        kinds = [view.kind for view in views]
        with self.adapter.tokens(batch.mask, rows=kinds, collect="balance"):
            hidden = self.llm.model(
                inputs_embeds=batch.embeds, attention_mask=batch.mask.long(), use_cache=False
            ).last_hidden_state
        supervised = batch.labels != IGNORE  # the vocabulary is wide: score only what is supervised
        logits = self.llm.lm_head(hidden[supervised]).float()
        nll = F.cross_entropy(logits, batch.labels[supervised], reduction="none")
        counts = supervised.sum(1)
        owner = torch.arange(len(views), device=nll.device).repeat_interleave(counts)
        per_view = torch.zeros(len(views), device=nll.device).index_add(0, owner, nll) / counts
        text, load = per_view.mean(), self.adapter.balance_loss()
        load = load if routed is None else load + routed
        weighed = text if weights is None else (per_view * per_view.new_tensor(weights)).mean()
        total = weighed + balance * load
        own = self._compress_loss(features, views, texts)
        total = total if own is None else total + own
        if distil == 0:
            return Losses(total, text, load, per_view.detach(), compress=own)
        taught = distil_loss(logits, counts.tolist(), teachers(views))
        return Losses(total + distil * taught, text, load, per_view.detach(), taught, own)

    def _compress_loss(
        self, features: Features, views: Sequence[View], texts: Sequence[Tensor]
    ) -> Tensor | None:
        """What the compressors of the streams that are read add to the loss; None for nothing."""
        counts = torch.tensor([len(text) for text in texts], device=self.device)
        parts = []
        for kind in ("audio", "video"):
            stream: TokenStream | None = getattr(features, kind)
            if stream is not None and any(getattr(view.rates, kind) for view in views):
                parts.append(self.compressor_of(kind).loss(stream, counts))
        known = [part for part in parts if part is not None]
        return torch.stack(known).sum() if known else None
