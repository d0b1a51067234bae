"""Compressors: a token stream in, a shorter one out."""

from avsr.compress.base import Card, Compressor, Guide, NotCausalError, Streamer, compressors
from avsr.compress.uniform import Pool, Stack

__all__ = [
    "Card",
    "Compressor",
    "Guide",
    "NotCausalError",
    "Pool",
    "Stack",
    "Streamer",
    "compressors",
]
