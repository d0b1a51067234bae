"""A loaded model: hand it clips, get transcripts. `avsr.loading` makes one.

Data: media file -> Prepared (sound, mouth crops) -> tower features, once -> Transcript at any
trained rate pair.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

import avsr.torchaudio_guard  # noqa: F401
from avsr.cautions import untrained
from avsr.chunks import Cutting
from avsr.compress.asked import missed
from avsr.compress.pair import parse, replaced
from avsr.confidence import Calibration, mean, scored_words
from avsr.ctc import EmbeddingCtc
from avsr.decode import DecodeOptions, Hypothesis, WordTimes, decode
from avsr.errors import AvsrError
from avsr.long import LongReader
from avsr.model import AvsrModel
from avsr.prepare import ClipOptions, Modality, Prepared, Preparer, RoiMode
from avsr.rates import Rates
from avsr.spoken import listener
from avsr.streams import TokenStream, check_finite
from avsr.transcript import Segment, Transcript
from avsr.views import Features, View, task_of
from avsr.word_times import WordAligner
from experts import Task
from frontends.media import media_seconds
from frontends.towers import AudioTower, LipTower

VIDEO_HZ = 25.0  # pictures a second of every lip track


class Recogniser:
    """A loaded model with its towers. Made by `avsr.load_model`.

    Args:
        model: projectors, experts and LLM.
        audio_tower: encoder of sound.
        video_tower: encoder of lips, None for a sound-only model.
        facts: for the transcript's `model` field.
        alignment: CTC of the projectors, for a joint search.
        local_files_only: never ask the network for the face models.
        calibration: of the words' confidences.
    """

    def __init__(
        self,
        model: AvsrModel,
        audio_tower: AudioTower,
        video_tower: LipTower | None,
        facts: Mapping[str, Any],
        *,
        alignment: EmbeddingCtc | None = None,
        local_files_only: bool = False,
        calibration: Calibration | None = None,
    ) -> None:
        self.calibration = calibration
        self.model, self.audio_tower, self.video_tower = model, audio_tower, video_tower
        self.facts, self.alignment = facts, alignment
        if alignment is not None:
            model.density = listener(model, alignment)
        self.compression_note: str | None = None
        self._own_compressors, self._own_facts = model.compressors, facts
        lips: Literal["read", "ignore"] = "ignore" if video_tower is None else "read"
        self.preparer = Preparer(lips=lips, local_files_only=local_files_only)

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
        self.model.config.check_rates(preset)
        return preset

    def use_compressor(self, config: str | Mapping[str, Any]) -> None:
        """Compress by another method than the model was trained with, at its trained rates.

        Args:
            config: "cluster", "keyframe,fine=1", "audio=affinity,budget=threshold:0.9", or as
                `avsr.compress.compressors.build` takes it, perhaps by modality.

        Raises:
            ModelError: the method's card says that a model must be trained with it.
            ConfigError: no such method.
        """
        config = parse(config) if isinstance(config, str) else config
        gives = ("other",) if self.model.density is None else ("other", "density")
        own = self.model.config.compress
        found = replaced(self._own_compressors, own, config, gives=gives)
        if found is None:
            self.model.compressors, self.facts = self._own_compressors, self._own_facts
            self.compression_note = None
        else:
            self.model.compressors, told, self.compression_note = found
            self.facts = {**self._own_facts, "compress": told}

    def prepare(
        self,
        path: str | Path,
        *,
        modality: Modality = "auto",
        roi: RoiMode = "auto",
        clip: ClipOptions = ClipOptions(),  # noqa: B008  (frozen)
    ) -> Prepared:
        """Decode one clip and find its mouth; see `avsr.prepare.Preparer`.

        Args:
            path: media file.
            modality: "auto" reads whatever the clip has; the others insist.
            roi: "given" takes the picture itself as the mouth crop.
            clip: which face and which sound track, where there are several.

        Raises:
            AvsrError: the clip cannot be read as asked.
        """
        return self.preparer.prepare(path, modality=modality, roi=roi, options=clip)

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
        made = [
            self._transcript(clip, pair, hypothesis, spent)
            for clip, pair, hypothesis in zip(clips, chosen, found, strict=True)
        ]
        if options is not None and options.word_times == "align":
            aligner = WordAligner(self.model, self.alignment, self._hz)
            made = [aligner.timed(clip, one) for clip, one in zip(clips, made, strict=True)]
        return list(zip(made, found, strict=True))

    def features(self, clips: Sequence[Prepared]) -> Features:
        """What the towers said of encoded clips, as one batch."""
        audio = _stream([c.audio for c in clips], self._hz["audio"])
        return Features(audio, _stream([c.video for c in clips], self._hz["video"]))

    @property
    def _hz(self) -> dict[str, float]:
        """Frames a second of each tower's features."""
        lips = self.video_tower
        return {"audio": self.audio_tower.hz, "video": VIDEO_HZ if lips is None else lips.hz}

    def _transcript(
        self, clip: Prepared, rates: Rates, hypothesis: Hypothesis, spent: float
    ) -> Transcript:
        """Put one result into its final form."""
        used = hypothesis.read
        timing = {**clip.timing, "language_model": spent}
        total = sum(timing.values())
        notes = (untrained(self.facts, task_of(rates)), self.compression_note)
        warnings = [*clip.warnings, *(note for note in notes if note is not None)]
        for kind in ("audio", "video"):
            features, rate = getattr(clip, kind), getattr(rates, kind)
            if features is not None and rate is not None:
                compressor, hz = self.model.compressor_of(kind), self._hz[kind]
                told = missed(compressor, rate, len(features), hz, used[kind])
                warnings += [] if told is None else [f"{kind} {told}"]
        if hypothesis.truncated:
            warnings.append(
                f"the transcript was cut after {len(hypothesis.token_ids)} tokens; "
                "raise --max-new-tokens"
            )
        words = scored_words(
            self.model.tokenizer.decode,
            hypothesis.token_ids,
            hypothesis.logprobs,
            self.calibration,
        )
        segment = Segment(
            0.0,
            clip.seconds,
            hypothesis.text,
            hypothesis.avg_logprob,
            hypothesis.truncated,
            words,
            mean(words),
        )
        audio, video = used["audio"], used["video"]
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
            input={
                "path": clip.path,
                "duration": clip.seconds,
                "coverage": clip.coverage,
                **clip.source,
            },
        )

    def transcribe(
        self,
        paths: Sequence[str | Path],
        *,
        modality: Modality = "auto",
        rates: Rates | None = None,
        rate: Literal["fine", "coarse"] = "fine",
        roi: RoiMode = "auto",
        clip: ClipOptions = ClipOptions(),  # noqa: B008  (frozen)
        beam_size: int = 1,
        max_new_tokens: int | None = None,
        ctc_weight: float | None = None,
        batch_size: int = 1,
        cutting: Cutting | None = None,
        word_times: WordTimes = "none",
        stage: Callable[[str], None] = lambda doing: None,
    ) -> list[Transcript | AvsrError]:
        """Transcribe files; one that fails does not harm the others.

        Recordings longer than `cutting.limit` are read in chunks, in the memory of a few of them.

        Args:
            paths: media files.
            modality: "auto" reads whatever a clip has.
            rates: rate pair, None for the preset.
            rate: "fine" or "coarse" preset.
            roi: "given" for clips that are mouth crops already.
            clip: which face and which sound track, where there are several.
            beam_size: 1 is greedy.
            max_new_tokens: cap on tokens per clip, None to derive it from the clip's length.
            ctc_weight: see `DecodeOptions`.
            batch_size: clips, or chunks of a long one, decoded together.
            cutting: how long recordings are cut, and which part is wanted.
            word_times: "align" gives each word its start and end.
            stage: told what is being done.

        Returns:
            In the order of the paths: a transcript, or the error that the clip met.
        """
        options = DecodeOptions(beam_size, max_new_tokens, ctc_weight, word_times)
        if rates is not None:
            self.model.config.check_rates(rates)
        if word_times == "align":
            WordAligner(self.model, self.alignment, self._hz)  # refused before any work
        cutting = Cutting() if cutting is None else cutting
        reader = LongReader(self, cutting, batch_size=batch_size, stage=stage)
        long = partial(
            reader.read,
            modality=modality,
            roi=roi,
            clip=clip,
            rates=rates,
            rate=rate,
            options=options,
        )
        out: list[Transcript | AvsrError] = []
        for first in range(0, len(paths), batch_size):
            ready: list[Prepared | Transcript | AvsrError] = []
            for path in paths[first : first + batch_size]:
                try:
                    if (
                        cutting.partial
                        or (media_seconds(path, limits=clip.limits) or 0.0) > cutting.limit
                    ):
                        ready.append(long(path))
                        continue
                    stage(f"sound and lips of {Path(path).name}")
                    made = self.prepare(path, modality=modality, roi=roi, clip=clip)
                    if made.seconds > cutting.limit:  # longer than its header says
                        ready.append(long(path))
                        continue
                    made.identify()
                    self.encode([made])  # one by one: a clip too long for a tower harms no other
                    ready.append(made)
                except AvsrError as error:
                    ready.append(error)
            stage("text")
            clips = [c for c in ready if isinstance(c, Prepared)]
            done = iter(self.recognise(clips, rates=rates, rate=rate, options=options))
            out += [next(done) if isinstance(c, Prepared) else c for c in ready]
        return out


def _share(
    clips: Sequence[Prepared], kind: str, features: Tensor, counts: Tensor, began: float
) -> None:
    """Give each clip its rows of a batch of features, and its share of the time.

    Raises:
        ModelError: features that are no numbers; here they harm no other clip of a batch.
    """
    spent = (time.perf_counter() - began) / len(clips)
    for clip, row, count in zip(clips, features, counts.tolist(), strict=True):
        check_finite(row[:count], torch.ones_like(row[:count, 0], dtype=torch.bool))
        setattr(clip, kind, row[:count])
        clip.timing["towers"] = clip.timing.get("towers", 0.0) + spent


def _stream(rows: Sequence[Tensor | None], hz: float) -> TokenStream | None:
    """Batch of tower features; a clip without the modality has length 0."""
    real = [row for row in rows if row is not None]
    if not real:
        return None
    return TokenStream.from_rows([real[0][:0] if row is None else row for row in rows], hz)
