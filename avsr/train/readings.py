"""What a model says to held-out clips, beside what was said: Batch -> Reading, Reading, ..."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avsr.ctc import EmbeddingCtc
from avsr.decode import decode
from avsr.model import AvsrModel
from avsr.rates import Rates
from avsr.train.data import Batch
from avsr.views import View
from experts import Task


class Reading(NamedTuple):
    """One clip read in one way; a tuple, for Lightning rebuilds what `predict_step` returns.

    Args:
        clip: its id.
        view: corpus and rates, as "grid/a4v2", or corpus and projector, as "grid/audio_4".
        reference: what was said.
        text: what was read.
    """

    clip: str
    view: str
    reference: str
    text: str


def read_batch(
    model: AvsrModel,
    batch: Batch,
    tasks: Mapping[Task, float],
    alignment: EmbeddingCtc | None = None,
) -> list[Reading]:
    """Transcribe a batch at the finest and the coarsest rates of every task.

    Args:
        model: in eval mode.
        batch: of one corpus; clips without lips are left out of tasks that need them.
        tasks: those with a chance above 0 are read.
        alignment: CTC of the projectors, which has the share that the configuration gives it.
    """
    audio, video = model.rates["audio"], model.rates["video"]
    wanted = []
    if tasks.get("a", 0) > 0:
        wanted += [Rates(audio[0], None), Rates(audio[-1], None)]
    if video and tasks.get("v", 0) > 0:
        wanted += [Rates(None, video[0]), Rates(None, video[-1])]
    if video and tasks.get("av", 0) > 0:
        wanted += [Rates(audio[0], video[0]), Rates(audio[-1], video[-1])]
    lips = batch.features.video
    seen = [False] * len(batch.items) if lips is None else (lips.lengths > 0).tolist()
    out = []
    for rates in dict.fromkeys(wanted):
        rows = [row for row, has in enumerate(seen) if has or rates.video is None]
        items = [batch.items[row] for row in rows]
        views = [View(row, rates) for row in rows]
        seconds = [item.duration for item in items]
        found = decode(model, batch.features, views, seconds, alignment=alignment)
        name = f"a{rates.audio or 0}v{rates.video or 0}"
        out += [
            Reading(item.id, f"{item.corpus or 'clips'}/{name}", item.text, said.text)
            for item, said in zip(items, found, strict=True)
        ]
    return out


def read_alignment(
    model: AvsrModel, ctc: EmbeddingCtc, batch: Batch, projectors: Sequence[str]
) -> list[Reading]:
    """What aligned projectors read by themselves, without the LLM.

    Args:
        model: in eval mode.
        ctc: the alignment.
        batch: of one corpus; clips without lips are left out of video projectors.
        projectors: names, as "audio_4".
    """
    out = []
    for name in projectors:
        kind, rate = name.split("_")
        source = getattr(batch.features, kind)
        if source is None:
            continue
        only = Rates(int(rate), None) if kind == "audio" else Rates(None, int(rate))
        stream = model.tokens(batch.features, [View(0, only)])[name]
        texts = [model.tokenizer.decode(ids) for ids in ctc.greedy(stream)]
        out += [
            Reading(item.id, f"{item.corpus or 'clips'}/{name}", item.text, text)
            for item, text, frames in zip(batch.items, texts, source.lengths.tolist(), strict=True)
            if frames > 0
        ]
    return out
