"""A tiny random recogniser whose towers count, and what tests of the page say to each other."""

import json
import threading
import time

BASE = "http://127.0.0.1:8437"


class Counted:
    """A tower that counts how often it runs, and may be held back."""

    def __init__(self, tower):
        self.tower, self.runs, self.gate = tower, 0, threading.Event()
        self.gate.set()

    def __getattr__(self, name):
        return getattr(self.tower, name)

    def __call__(self, *args):
        self.runs += 1
        assert self.gate.wait(120)
        return self.tower(*args)


def tiny_recogniser(**changes):
    """Both towers and a two-layer LLM, all random; rates audio {4, 16} and video {2, 5}."""
    import torch

    from avsr.api import Recogniser
    from avsr.decode import DecodeOptions
    from frontends.audio_tower import WhisperShape, WhisperTower
    from frontends.video_tower import LipEncoder, LipShape
    from tests import tiny

    class Brief(Recogniser):
        """Writes a few tokens: random weights seldom end a text by themselves."""

        def explain(self, clips, **settings):
            brief = DecodeOptions(max_new_tokens=6)
            return super().explain(clips, **{**settings, "options": brief})

    model = tiny.tiny_model(**{"audio_rates": (4, 16), "video_rates": (2, 5), **changes})
    tiny.awaken(model.adapter)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        audio = WhisperTower(
            WhisperShape(
                d_model=tiny.AUDIO_WIDTH,
                encoder_layers=1,
                encoder_attention_heads=2,
                encoder_ffn_dim=8,
            )
        )
        shape = LipShape(stem=2, trunk=(4,), width=tiny.VIDEO_WIDTH, dilations=(1,))
        video = LipEncoder(shape).freeze()
    return Brief(model, Counted(audio), Counted(video), {"name": "tiny"})


def lines(answer):
    """The events of an answer."""
    return [json.loads(line) for line in answer.text.splitlines()]


def last(events, kind="done"):
    """The result, or the error, that events end with."""
    assert events[-1]["event"] == kind, events[-1]
    return events[-1].get("result", events[-1].get("error"))


def until(true, seconds=120, every=0.01):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(every)
