"""Every clip was read whole a second time for its hash, though only `avsr transcribe` tells it.

`Preparer.prepare` did it, so evaluation, training's features and the comparison of rates paid too.
"""

import hashlib

from avsr import prepare
from avsr.prepare import Preparer
from tests.frontends.clips import tone, write_clip


def test_the_hash_is_made_on_request(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "x.wav", wave=tone(0.5, 16_000))
    read = []
    real = prepare.sha256_of
    monkeypatch.setattr(prepare, "sha256_of", lambda path: (read.append(path), real(path))[1])
    made = Preparer(lips="ignore").prepare(path)
    assert read == []
    assert set(made.source) == {"fps", "streams"}
    made.identify()
    assert made.source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read == [path]
