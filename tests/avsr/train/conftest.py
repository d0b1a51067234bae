"""One set of tiny folders for all tests of training."""

import pytest


@pytest.fixture(scope="package")
def home(tmp_path_factory):
    """Tiny LLM, towers and manifest."""
    from tests.avsr.train.folders import write_home

    return write_home(tmp_path_factory.mktemp("home"))
