"""Held-out batches that mix clips with and without lips."""

from dataclasses import replace

import pytest
import torch

from avsr.ctc import EmbeddingCtc
from avsr.manifest import Item
from avsr.train.module import AvsrTask
from avsr.train.readings import read_alignment, read_batch
from tests.avsr.train.test_ddp import part


@pytest.fixture(scope="module")
def model(home):
    return AvsrTask(home.config(), dtype="float32").model.eval()


@pytest.fixture
def batch(tmp_path):
    """Three clips, of which the last has no lips."""
    items = tuple(
        Item(f"clip{k}", tmp_path / f"{k}.mp4", 0.5, f"word{k} word5", corpus="mixed")
        for k in range(3)
    )
    return replace(part([0, 1, 2], lips=2), items=items)


TASKS = {"a": 1.0, "v": 1.0, "av": 1.0}


def test_a_clip_without_lips_is_read_by_sound_alone(model, batch):
    found = read_batch(model, batch, TASKS)
    clips = {}
    for reading in found:
        clips.setdefault(reading.view, []).append(reading.clip)
        assert reading.reference == f"word{reading.clip[-1]} word5"
    both, every = ["clip0", "clip1"], ["clip0", "clip1", "clip2"]
    assert clips == {
        "mixed/a4v0": every,
        "mixed/a16v0": every,
        "mixed/a0v2": both,
        "mixed/a0v5": both,
        "mixed/a4v2": both,
        "mixed/a16v5": both,
    }


def test_a_task_without_a_chance_is_not_read(model, batch):
    found = read_batch(model, batch, {"a": 0.0, "v": 1.0, "av": 0.0})
    assert {reading.view for reading in found} == {"mixed/a0v2", "mixed/a0v5"}


def test_an_aligned_projector_of_lips_reads_clips_with_lips(model, batch):
    ctc = EmbeddingCtc(model.llm.get_input_embeddings().weight, list(range(3, 12)))
    with torch.no_grad():
        found = read_alignment(model, ctc, batch, ["audio_4", "video_2"])
    views = [(reading.view, reading.clip) for reading in found]
    assert views == [
        *(("mixed/audio_4", f"clip{k}") for k in range(3)),
        *(("mixed/video_2", f"clip{k}") for k in range(2)),
    ]
