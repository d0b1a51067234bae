"""Tiny random recognisers around each supported kind of LLM.

Imported when used: not every test of this folder needs torch.
"""

import pytest


@pytest.fixture(params=["llama", "qwen2", "qwen3"])
def kind(request):
    """Each supported kind of LLM."""
    return request.param


@pytest.fixture
def trained(kind):
    """A recogniser at rates audio {4, 16} and video {2, 5} whose experts do something."""
    from tests.tiny import awaken, tiny_model

    model = tiny_model(kind, audio_rates=(4, 16), video_rates=(2, 5))
    awaken(model.mome)
    return model


@pytest.fixture
def clips():
    """Features of three clips of unequal length."""
    from tests.tiny import tiny_features

    return tiny_features((40, 22, 9))


@pytest.fixture
def views():
    """Tasks, rates and rows mixed: what one batch may hold."""
    from avsr.rates import Rates
    from avsr.views import View

    pairs = [(4, 2), (16, None), (None, 5), (16, 5), (4, None), (None, 2)]
    return [View(row % 3, Rates(*pair)) for row, pair in enumerate(pairs)]
