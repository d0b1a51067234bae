"""The fuzzer: the same cases from the same seed, and faults that are seen."""

import numpy as np
import pytest


@pytest.fixture
def fuzz_media(tool):
    return tool("fuzz_media")


def test_a_case_depends_on_its_number_and_the_seed_alone(fuzz_media, monkeypatch):
    monkeypatch.setattr(fuzz_media, "made", lambda ending: ending.encode() * 400)
    first = list(fuzz_media.cases(60, 1))
    assert list(fuzz_media.cases(30, 1)) == first[:30]
    assert list(fuzz_media.cases(60, 2)) != first
    assert {case.ending for case in first} == set(fuzz_media.FORMATS)
    assert {case.way for case in first} == set(fuzz_media.WAYS)


def test_every_way_damages(fuzz_media):
    whole = bytes(np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8))
    for way in fuzz_media.WAYS:
        made = [fuzz_media.damaged(whole, way, np.random.default_rng(k)) for k in range(5)]
        assert any(data != whole for data in made), way
        assert all((len(data) < 4000) == (way == "cut") for data in made)


class Told:
    """A reading process that says what it is told to, or nothing."""

    def __init__(self, answers):
        self.answers, self.begun = iter(answers), 0

    def begin(self):
        self.begun += 1

    def end(self):
        pass


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        (("clip", "", 10), "clip"),
        (("refused", "", 10), "refused"),
        (("clip", "", 2**30 + 1), "fault: more than 1 GiB"),
        (("fault: a traceback", "", 10), "fault: a traceback"),
        (None, "fault: more than 10 s"),
        (EOFError, "fault: the process died"),
    ],
)
def test_how_a_case_ends(fuzz_media, monkeypatch, answer, ended):
    class Pipe:
        def send(self, path):
            pass

        def poll(self, seconds):
            assert seconds == 10.0
            return answer is not None

        def recv(self):
            if answer is EOFError:
                raise EOFError
            return answer

    begun = []
    monkeypatch.setattr(fuzz_media.Reader, "begin", lambda self: begun.append(1))
    monkeypatch.setattr(fuzz_media.Reader, "end", lambda self: None)
    reader = fuzz_media.Reader()
    reader.pipe = Pipe()
    assert reader.one("x")[0] == ended
    assert len(begun) == 1 + (ended.startswith("fault") and "traceback" not in ended)


@pytest.mark.slow
def test_a_small_run_meets_no_fault(fuzz_media):
    figures = fuzz_media.fuzz(126, 0, None)
    assert figures["faults"] == []
    assert sum(figures["ended"].values()) == 126
