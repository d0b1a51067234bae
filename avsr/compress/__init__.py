"""Compressors: a token stream in, a shorter one out."""

from avsr.compress.uniform import Pool, Stack  # isort: skip  # first in every list
from avsr.compress.floors import Chance, Everything, Stride  # isort: skip
from avsr.compress.base import Card, Compressor, Guide, NotCausalError, Streamer, compressors
from avsr.compress.cif import Cif
from avsr.compress.cluster import Cluster, DensityPeak, KMeans
from avsr.compress.conv import Conv
from avsr.compress.density import Weighted
from avsr.compress.duration import Duration, rate_for
from avsr.compress.guided import Guided
from avsr.compress.hier import Hier
from avsr.compress.keyframe import Keyframe
from avsr.compress.merge import Affinity, Atome, WindowMerge
from avsr.compress.novelty import Novelty
from avsr.compress.plans import Grouping
from avsr.compress.qformer import QFormer
from avsr.compress.select import Select

__all__ = [
    "Affinity",
    "Atome",
    "Card",
    "Chance",
    "Cif",
    "Cluster",
    "Compressor",
    "Conv",
    "DensityPeak",
    "Duration",
    "Everything",
    "Grouping",
    "Guide",
    "Guided",
    "Hier",
    "KMeans",
    "Keyframe",
    "NotCausalError",
    "Novelty",
    "Pool",
    "QFormer",
    "Select",
    "Stack",
    "Streamer",
    "Stride",
    "Weighted",
    "WindowMerge",
    "compressors",
    "rate_for",
]
