"""A whole recogniser of two layers, with bytes for tokens."""

import pytest

from avsr.rates import Rates
from avsr.views import View
from tests.tiny import tiny_features, tiny_model


@pytest.fixture
def tiny():
    """A model, features of two clips, and a view of each: what `avsr.decode.decode` takes."""
    return tiny_model(), tiny_features(), [View(0, Rates(4, 2)), View(1, Rates(4, 2))]
