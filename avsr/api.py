"""The library's front door: load a model, hand it clips, get transcripts.

Data: media file -> Prepared (sound, mouth crops) -> tower features, once -> Transcript at any
trained rate pair.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

import avsr.torchaudio_guard  # noqa: F401
from avsr.checkpoint import load_alignment, load_checkpoint, load_towers, read_config
from avsr.ctc import EmbeddingCtc
from avsr.decode import DecodeOptions, Hypothesis, decode
from avsr.errors import AvsrError, ConfigError
from avsr.model import AvsrModel, Features, View, task_of
from avsr.precision import choose_dtype
from avsr.prepare import Modality, Prepared, Preparer, RoiMode
from avsr.rates import Rates
from avsr.startup import collector_paused
from avsr.streams import TokenStream
from avsr.transcript import Segment, Transcript
from avsr.weights import resolve
from experts import Task
from frontends.audio_tower import WhisperTower
from frontends.video_tower import LipEncoder


class Recogniser:
    """A loaded model with its towers. Made by `load_model`.

    Args:
        model: projectors, experts and LLM.
        audio_tower: Whisper encoder.
        video_tower: lip encoder, None for a sound-only model.
        facts: for the transcript's `model` field.
        alignment: CTC of the projectors, for a joint search.
        local_files_only: never ask the network for the face models.
    """

    def __init__(
        self,
        model: AvsrModel,
        audio_tower: WhisperTower,
        video_tower: LipEncoder | None,
        facts: Mapping[str, Any],
        *,
        alignment: EmbeddingCtc | None = None,
        local_files_only: bool = False,
    ) -> None:
        self.model, self.audio_tower, self.video_tower = model, audio_tower, video_tower
        self.facts, self.alignment = facts, alignment
        lips: Literal["read", "ignore"] = "ignore" if video_tower is None else "read"
        self._preparer = Preparer(lips=lips, local_files_only=local_files_only)

    @property
    def trained_rates(self) -> dict[str, list[int]]:
        """Rates that may be asked for: {"a": [...], "v": [...]}."""
        return {"a": list(self.model.rates["audio"]), "v": list(self.model.rates["video"])}

    def pairs(self, modality: Task) -> list[Rates]:
        """Every trained rate pair of a task, finest first."""
        audio = self.trained_rates["a"] if "a" in modality else [None]
        video = self.trained_rates["v"] if "v" in modality else [None]
        return [Rates(a, v) for a, v in product(audio, video)]

    def choose(
        self, modality: Task, rates: Rates | None, rate: Literal["fine", "coarse"] = "fine"
    ) -> Rates:
        """The rates of one clip: what was asked for, and the preset for what was left open.

        Raises:
            ModelError: a rate that was not trained.
        """
        preset = self.pairs(modality)[0 if rate == "fine" else -1]
        if rates is not None:
            audio = preset.audio if rates.audio is None else rates.audio
            video = preset.video if rates.video is None else rates.video
            preset = Rates(audio if "a" in modality else None, video if "v" in modality else None)
        self.model.check(preset)
        return preset

    def prepare(
        self, path: str | Path, *, modality: Modality = "auto", roi: RoiMode = "auto"
    ) -> Prepared:
        """Decode one clip and find its mouth; see `avsr.prepare.Preparer`.

        Args:
            path: media file.
            modality: "auto" reads whatever the clip has; the others insist.
            roi: "given" takes the picture itself as the mouth crop.

        Raises:
            AvsrError: the clip cannot be read as asked.
        """
        return self._preparer.prepare(path, modality=modality, roi=roi)

    @torch.inference_mode()
    def encode(self, clips: Sequence[Prepared]) -> None:
        """Run the towers over the clips that they have not seen; features stay with the clip."""
        device = self.model.device
        sound = [c for c in clips if c.wave is not None and c.audio is None]
        lips = [c for c in clips if c.crops is not None and c.video is None]
        if sound:
            began = time.perf_counter()
            waves = [torch.from_numpy(np.ascontiguousarray(c.wave)) for c in sound]
            lengths = torch.tensor([len(w) for w in waves], device=device)
            features, counts = self.audio_tower(
                pad_sequence(waves, batch_first=True).to(device), lengths
            )
            _share(sound, "audio", features, counts, began)
        if lips:
            assert self.video_tower is not None
            began = time.perf_counter()
            crops = [torch.from_numpy(np.ascontiguousarray(c.crops)) for c in lips]
            lengths = torch.tensor([len(c) for c in crops], device=device)
            features, counts = self.video_tower(
                pad_sequence(crops, batch_first=True).to(device), lengths
            )
            _share(lips, "video", features, counts, began)

    def recognise(
        self,
        clips: Sequence[Prepared],
        *,
        modality: Task | None = None,
        rates: Rates | None = None,
        rate: Literal["fine", "coarse"] = "fine",
        options: DecodeOptions | None = None,
    ) -> list[Transcript]:
        """Transcribe prepared clips in one batch; the towers run once, whatever rates follow.

        Args:
            clips: from `prepare`.
            modality: read less than a clip holds, None for all of it.
            rates: rate pair, None for the preset.
            rate: preset for what `rates` leaves open.
            options: search settings.
        """
        made = self.explain(clips, modality=modality, rates=rates, rate=rate, options=options)
        return [transcript for transcript, _ in made]

    def explain(
        self,
        clips: Sequence[Prepared],
        *,
        modality: Task | None = None,
        rates: Rates | None = None,
        rate: Literal["fine", "coarse"] = "fine",
        options: DecodeOptions | None = None,
    ) -> list[tuple[Transcript, Hypothesis]]:
        """As `recognise`, with the tokens behind each transcript and their log-probabilities."""
        if not clips:
            return []
        self.encode(clips)
        tasks = [modality or clip.modality for clip in clips]
        chosen = [self.choose(task, rates, rate) for task in tasks]
        features = self.features(clips)
        views = [View(row, pair) for row, pair in enumerate(chosen)]
        seconds = [c.seconds for c in clips]
        began = time.perf_counter()
        found = decode(self.model, features, views, seconds, options, self.alignment)
        spent = (time.perf_counter() - began) / len(clips)
        return [
            (self._transcript(clip, pair, hypothesis, spent), hypothesis)
            for clip, pair, hypothesis in zip(clips, chosen, found, strict=True)
        ]

    def features(self, clips: Sequence[Prepared]) -> Features:
        """What the towers said of encoded clips, as one batch."""
        return Features(
            _stream([c.audio for c in clips], self.audio_tower.hz),
            _stream([c.video for c in clips], 25.0),
        )

    def _transcript(
        self, clip: Prepared, rates: Rates, hypothesis: Hypothesis, spent: float
    ) -> Transcript:
        """Put one result into its final form."""
        timing = {**clip.timing, "language_model": spent}
        total = sum(timing.values())
        warnings = list(clip.warnings)
        if hypothesis.truncated:
            warnings.append(
                f"the transcript was cut after {len(hypothesis.token_ids)} tokens; "
                "raise --max-new-tokens"
            )
        segment = Segment(
            0.0, clip.seconds, hypothesis.text, hypothesis.avg_logprob, hypothesis.truncated
        )
        audio = _count(clip.audio, rates.audio)
        video = _count(clip.video, rates.video)
        return Transcript(
            text=hypothesis.text,
            segments=(segment,),
            rates={"audio": rates.audio, "video": rates.video},
            modality=task_of(rates),
            tokens={
                "audio": audio,
                "video": video,
                "prompt": hypothesis.prompt_tokens - audio - video,
                "text": len(hypothesis.token_ids),
            },
            timing={**timing, "total": total, "rtf": total / max(clip.seconds, 1e-9)},
            warnings=tuple(warnings),
            model=self.facts,
            input={"path": clip.path, "duration": clip.seconds, "coverage": clip.coverage},
        )

    def transcribe(
        self,
        paths: Sequence[str | Path],
        *,
        modality: Modality = "auto",
        rates: Rates | None = None,
        rate: Literal["fine", "coarse"] = "fine",
        roi: RoiMode = "auto",
        beam_size: int = 1,
        max_new_tokens: int | None = None,
        ctc_weight: float | None = None,
        batch_size: int = 1,
    ) -> list[Transcript | AvsrError]:
        """Transcribe files; one that fails does not harm the others.

        Args:
            paths: media files.
            modality: "auto" reads whatever a clip has.
            rates: rate pair, None for the preset.
            rate: "fine" or "coarse" preset.
            roi: "given" for clips that are mouth crops already.
            beam_size: 1 is greedy.
            max_new_tokens: cap on tokens per clip, None to derive it from the clip's length.
            ctc_weight: see `DecodeOptions`.
            batch_size: clips decoded together.

        Returns:
            In the order of the paths: a transcript, or the error that the clip met.
        """
        options = DecodeOptions(beam_size, max_new_tokens, ctc_weight)
        if rates is not None:
            self.model.check(rates)
        out: list[Transcript | AvsrError] = []
        for first in range(0, len(paths), batch_size):
            ready: list[Prepared | AvsrError] = []
            for path in paths[first : first + batch_size]:
                try:
                    clip = self.prepare(path, modality=modality, roi=roi)
                    self.encode([clip])  # one by one: a clip too long for a tower harms no other
                    ready.append(clip)
                except AvsrError as error:
                    ready.append(error)
            clips = [c for c in ready if isinstance(c, Prepared)]
            done = iter(self.recognise(clips, rates=rates, rate=rate, options=options))
            out += [next(done) if isinstance(c, Prepared) else c for c in ready]
        return out


def load_model(
    model: str | Path = "default",
    *,
    device: str = "auto",
    dtype: str = "auto",
    local_files_only: bool = False,
) -> Recogniser:
    """Load a recogniser.

    Args:
        model: "default", a folder written by training, or a hub id.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: of the frozen LLM: "auto", "float32", "bfloat16", "float16".
        local_files_only: never ask the network.

    Raises:
        AvsrError: no such model, damaged, or its frozen parts cannot be had.
    """
    folder = model_folder(model, local_files_only)
    chosen = _device(device)
    config, _ = read_config(folder)
    for frozen in (config.language_model, config.audio_tower):
        resolve(frozen, local_files_only=local_files_only)  # here or fetched before the long work
    with collector_paused():
        loaded, facts = load_checkpoint(folder, dtype=choose_dtype(dtype, chosen))
        alignment = load_alignment(folder, loaded)
        audio_tower, video_tower = load_towers(loaded.config, folder)
    loaded.llm.to(chosen)
    audio_tower.to(chosen)
    for part in (video_tower, alignment):
        if part is not None:
            part.to(chosen)
    about = {
        "name": str(model),
        "language_model": loaded.config.language_model,
        "trained_rates": {k: list(v) for k, v in loaded.rates.items()},
        "dtype": str(next(loaded.llm.parameters()).dtype).removeprefix("torch."),
        "format": facts["avsr_format"],
    }
    return Recogniser(
        loaded.to(chosen),
        audio_tower,
        video_tower,
        about,
        alignment=alignment,
        local_files_only=local_files_only,
    )


def transcribe(path: str | Path, *, model: str | Path = "default", **options: Any) -> Transcript:
    """Transcribe one file.

    Args:
        path: media file.
        model: see `load_model`.
        options: see `Recogniser.transcribe`.

    Raises:
        AvsrError: the file or the model cannot be read.
    """
    result = load_model(model).transcribe([path], **options)[0]
    if isinstance(result, AvsrError):
        raise result
    return result


def model_folder(model: str | Path, local_files_only: bool = False) -> Path:
    """Folder of a named model."""
    if str(model) == "default":
        return Path(__file__).parent / "models" / "default"
    return Path(resolve(str(model)))


def _device(name: str) -> torch.device:
    """Turn a device option into a device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {name!r} cannot be used: {reason}", todo="Use --device cpu."
        ) from error
    return device


def _share(
    clips: Sequence[Prepared], kind: str, features: Tensor, counts: Tensor, began: float
) -> None:
    """Give each clip its rows of a batch of features, and its share of the time."""
    spent = (time.perf_counter() - began) / len(clips)
    for clip, row, count in zip(clips, features, counts.tolist(), strict=True):
        setattr(clip, kind, row[:count])
        clip.timing["towers"] = clip.timing.get("towers", 0.0) + spent


def _stream(rows: Sequence[Tensor | None], hz: float) -> TokenStream | None:
    """Batch of tower features; a clip without the modality has length 0."""
    real = [row for row in rows if row is not None]
    if not real:
        return None
    return TokenStream.from_rows([real[0][:0] if row is None else row for row in rows], hz)


def _count(features: Tensor | None, rate: int | None) -> int:
    """Tokens of a stream at a rate."""
    return 0 if features is None or rate is None else -(-len(features) // rate)
