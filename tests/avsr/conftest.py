"""Tiny random recognisers around each supported kind of LLM."""

import pytest

from avsr.model import View
from avsr.rates import Rates
from tests.tiny import KINDS, awaken, tiny_features, tiny_model


@pytest.fixture(params=list(KINDS))
def kind(request):
    """Each supported kind of LLM."""
    return request.param


@pytest.fixture
def trained(kind):
    """A recogniser at rates audio {4, 16} and video {2, 5} whose experts do something."""
    model = tiny_model(kind, audio_rates=(4, 16), video_rates=(2, 5))
    awaken(model.mome)
    return model


@pytest.fixture
def clips():
    """Features of three clips of unequal length."""
    return tiny_features((40, 22, 9))


@pytest.fixture
def views():
    """Tasks, rates and rows mixed: what one batch may hold."""
    pairs = [(4, 2), (16, None), (None, 5), (16, 5), (4, None), (None, 2)]
    return [View(row % 3, Rates(*pair)) for row, pair in enumerate(pairs)]
