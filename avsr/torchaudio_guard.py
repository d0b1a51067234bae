"""Imported before transformers: a torchaudio that cannot load is hidden from it.

transformers imports torchaudio unasked wherever it is installed, and fails with it where it was
built for another torch. Nothing here needs it but a change of tempo in training.
"""

import sys

try:
    import torchaudio  # noqa: F401
except (ImportError, OSError):  # not there, or its library has symbols of another torch
    sys.modules["torchaudio"] = None  # type: ignore[assignment]  # now transformers sees none
