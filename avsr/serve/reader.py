"""The work behind each request, done in the worker's thread.

Upload -> Held; Held + Settings -> one reading, a row for every rate pair, or the experts' plots.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from avsr.api import Recogniser
from avsr.errors import AvsrError, ConfigError, MediaError
from avsr.expert_use import expert_use
from avsr.prepare import Prepared, RoiMode
from avsr.rates import Rates
from avsr.serve import views
from avsr.serve.clips import Held, Shelf
from avsr.serve.jobs import Job
from avsr.serve.options import ServeOptions
from avsr.serve.settings import Settings
from avsr.serve.uploads import Upload
from avsr.serve.words import judged, sure_words
from avsr.transcript import Transcript
from experts.rows import Task
from frontends.media import open_clip

__all__ = ["Reader"]


class Reader:
    """Reads clips for visitors with one recogniser.

    Args:
        recogniser: the loaded model.
        options: what may be asked of it.
        shelf: where clips are held.
    """

    def __init__(self, recogniser: Recogniser, options: ServeOptions, shelf: Shelf) -> None:
        self.recogniser, self.options, self.shelf = recogniser, options, shelf

    def take_in(self, upload: Upload, roi: RoiMode, job: Job) -> dict[str, Any]:
        """Decode an upload, find its mouth, run the towers: once for all rates.

        Args:
            upload: the file; whoever submitted the job removes it.
            roi: "given" if the picture is a mouth crop already.
            job: asked between the steps whether its result is still wanted.

        Returns:
            The clip's facts.

        Raises:
            AvsrError: the clip cannot be read; it names the visitor's file, not ours.
        """
        try:
            self._check_length(upload)
            job.check()
            found = self.recogniser.prepare(upload.path, roi=roi)
            job.check()
            found.identify()  # for the download; the file is gone by then
            clean = replace(found, path=upload.name)
            self.recogniser.encode([clean])
        except AvsrError as error:
            raise _for_visitor(error, upload) from error
        mouth = None if clean.crops is None else views.sheet(clean.crops)
        job.check()
        return self.shelf.add(upload.name, clean, mouth).facts()

    def read(self, held: Held, settings: Settings, job: Job) -> dict[str, Any]:
        """Transcribe a clip as the settings say; the same settings are answered from memory.

        Raises:
            AvsrError: the clip has not what is asked for, or the model was not trained for it.
        """
        return self._reading(held, settings, job)[1]

    def rates(self, held: Held, settings: Settings, job: Job) -> dict[str, Any]:
        """Transcribe a clip at every trained rate pair; each row is reported when it is there.

        Args:
            held: the clip.
            settings: its rates are of no concern.
            job: gets an event "row" a pair.

        Returns:
            {"rows": as many as were reported}.
        """
        pairs = self.recogniser.pairs(_task(held, settings))
        for pair in pairs:
            job.check()
            one = replace(settings, audio_rate=pair.audio, video_rate=pair.video)
            made, told = self._reading(held, one, job)
            job.report("row", row=views.row(made, told["seconds"]))
        return {"rows": len(pairs)}

    def experts(self, held: Held, settings: Settings, job: Job) -> dict[str, Any]:
        """Which experts the clip's tokens choose at the settings' rates, with its transcript given.

        Returns:
            Shares [L, E] and an SVG document for each kind of token.

        Raises:
            AvsrError: the model has no routers, or as in `read`.
        """
        made, _ = self._reading(held, settings, job)
        job.check()
        task = _task(held, settings)
        take = self._take(held, settings, task)
        pair = self.recogniser.choose(task, settings.rates())
        features = self.recogniser.features([_part(take, task)])
        use = expert_use(self.recogniser.model, features, pair, made.text)
        return {
            "rates": pair.to_dict(),
            "routed": use.routed,
            "top_k": use.top_k,
            "tokens": dict(use.tokens),
            "share": dict(use.share),
            "plots": {kind: use.plot(kind) for kind in use.share},
        }

    def _reading(
        self, held: Held, settings: Settings, job: Job
    ) -> tuple[Transcript, dict[str, Any]]:
        task = _task(held, settings)
        pair = self.recogniser.choose(task, settings.rates())
        key = _key(task, pair, settings)
        known = held.known(key)
        if known is not None:
            return known
        take = self._take(held, settings, task)
        job.check()
        began = time.perf_counter()
        ((made, hypothesis),) = self.recogniser.explain([take], modality=task, rates=pair)
        spent = time.perf_counter() - began
        words = judged(made, sure_words(hypothesis, self.recogniser.model.tokenizer.decode))
        told = views.reading(key, made, words, spent)
        held.keep(key, made, told)
        return made, told

    def _take(self, held: Held, settings: Settings, task: Task) -> Prepared:
        """The clip as a task hears it: lips alone hear no noise."""
        return held.take(self.recogniser, settings.noise if "a" in task else None)

    def _check_length(self, upload: Upload) -> None:
        """Refuse what is too long before its every picture is looked at."""
        longest = views.seconds(self.recogniser, self.options)
        limits = replace(self.options.media, max_seconds=longest)
        clip = open_clip(upload.path, limits=limits)
        limits.check_seconds(clip.duration, str(upload.path))


def _task(held: Held, settings: Settings) -> Task:
    """What is read: all that the clip has, or what was asked for."""
    task, there = settings.modality or held.clean.modality, held.clean.modality
    if not set(task) <= set(there):
        named = {"a": "sound", "v": "lips", "av": "sound and lips"}
        raise ConfigError(
            f"{named[task]} were asked for, but the clip has {named[there]} alone",
            todo="Choose another modality.",
        )
    return task


def _part(take: Prepared, task: Task) -> Prepared:
    """The features that a task reads."""
    return replace(
        take,
        audio=take.audio if "a" in task else None,
        video=take.video if "v" in task else None,
    )


def _key(task: Task, pair: Rates, settings: Settings) -> str:
    """A name for the settings that can stand in an address."""
    noise = settings.noise if "a" in task else None
    level = "clean" if noise is None else f"{noise.kind}{noise.snr_db:g}dB"
    return f"{task}_{pair.audio or 0}_{pair.video or 0}_{level}"


def _for_visitor(error: AvsrError, upload: Upload) -> AvsrError:
    """The same error about the file that the visitor knows, without limits he cannot raise."""
    path = str(upload.path)
    what, where, todo = (
        text.replace(path, upload.name) for text in (error.what, error.where, error.todo)
    )
    todo = todo.split(", or raise Limits.")[0]
    return MediaError(what, where=where, todo=todo)
