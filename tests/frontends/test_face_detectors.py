"""Detectors behind one interface, and which face of several is followed; no weights needed."""

import cv2
import numpy as np
import pytest

from frontends.errors import RoiError
from frontends.face_detectors import DETECTORS, Cascade, Centre, YuNet, make_detector
from frontends.faces import Face, Mesh
from frontends.lips import LEAST, LipTracker, _Follower, face_number
from frontends.roi_align import POINTS, place
from frontends.roi_weave import Weaver

IMAGE = np.zeros((100, 200, 3), np.uint8)
SMALL, LARGE, OTHER = Face(40, 50, 20, 0.0), Face(120, 50, 60, 0.0), Face(180, 60, 30, 0.0)


class Finding:
    """Finds what it is told, the largest first."""

    def __init__(self, *pictures):
        self.pictures, self.seen = list(pictures), 0

    def find(self, image):
        found = self.pictures[min(self.seen, len(self.pictures) - 1)]
        return sorted(found, key=lambda face: -face.side)

    search = find


class Agreeing:
    """A mesh that finds a face where it is told to look, if there is one."""

    def __init__(self, finding, doubts=()):
        self.finding, self.doubts = finding, doubts

    def read(self, image, face):
        there = self.finding.pictures[min(self.finding.seen, len(self.finding.pictures) - 1)]
        near = [f for f in there if f.overlaps(face, 0.1)]
        if not near or near[0] in self.doubts:
            return Seen(np.zeros((468, 2)), 0.0, face)
        return Seen(np.full((468, 2), (near[0].x, near[0].y)), 1.0, near[0])


class Seen(Mesh):
    def __init__(self, points, score, where):
        super().__init__(points, score)
        object.__setattr__(self, "where", where)

    def face(self):
        return self.where


def follow(*pictures, number=None, cut_before=(), doubts=()):
    """Where the followed face is in each picture, and the follower."""
    finding = Finding(*pictures)
    follower = _Follower(finding, Agreeing(finding, doubts), number=number)
    places = []
    for k in range(len(pictures)):
        finding.seen = k
        if k in cut_before:
            follower.cut()
        points, _ = follower.step(IMAGE)
        places.append(None if points is None else points[0, 0])
    return places, follower


EVERY = [SMALL, LARGE, OTHER]


@pytest.mark.parametrize(("number", "x"), [(None, 120), (1, 120), (2, 180), (3, 40)])
def test_a_face_is_chosen_by_its_size(number, x):
    places, follower = follow(*[EVERY] * 4, number=number)
    assert places == [x] * 4
    assert follower.faces == 3


def test_a_face_by_number_waits_until_so_many_are_there():
    places, _ = follow([LARGE], [LARGE], EVERY, EVERY, number=2)
    assert places == [None, None, 180, 180]


def test_a_face_by_number_is_followed_and_no_other():
    places, follower = follow(EVERY, [SMALL, LARGE], [SMALL, LARGE], EVERY, number=2)
    assert places == [180, None, None, 180]
    assert follower.moves == 0
    places, follower = follow(EVERY, [SMALL, OTHER], [SMALL, OTHER])  # the largest is lost
    assert places == [120, 180, 180]
    assert follower.moves == 1


def test_what_the_mesh_doubts_is_no_face():
    assert follow(*[EVERY] * 2, number=1, doubts=[LARGE])[0] == [180, 180]
    assert LEAST > 0


def test_a_cut_begins_a_new_track():
    places, follower = follow([LARGE], [LARGE], [LARGE], [SMALL, LARGE], cut_before=[2])
    assert places == [120] * 4
    assert follower.track == 1
    weaver = Weaver(places=[])
    points = np.random.default_rng(0).normal(50, 20, (15, 2))
    for k, track in enumerate((0, 0, 0, 1, 1, 1)):
        weaver.add(IMAGE, points + (100 if k >= 3 else 0), track)
    weaver.finish()
    one, two = place(points), place(points + 100)  # nothing is averaged across the cut
    assert [round(p.x, 6) for p in weaver.places] == [round(p.x, 6) for p in [one] * 3 + [two] * 3]


def test_jitter_is_what_strays_from_steady_motion():
    face = np.random.default_rng(1).normal(50, 20, (15, 2))

    def jitter(move):
        weaver = Weaver(places=[])
        for k in range(40):
            weaver.add(IMAGE, face + move(k), 0)
        weaver.finish()
        assert len(weaver.places) == 40
        return weaver.jitter()

    assert jitter(lambda k: 0) == pytest.approx(0.0, abs=1e-9)
    assert jitter(lambda k: 2.0 * k) < 0.7 * jitter(lambda k: 8 * np.sin(1.5 * k))
    assert jitter(lambda k: 8 * np.sin(0.3 * k)) < jitter(lambda k: 8 * np.sin(1.5 * k))


def test_jitter_is_summed_on_the_way_and_places_are_kept_only_where_asked_for():
    """A loop over places that were kept is the reference."""
    rng = np.random.default_rng(2)
    kept, running = Weaver(places=[]), Weaver()
    tracks = [0] * 12 + [1] * 9
    face = rng.normal(50, 20, (15, 2))
    for k, track in enumerate(tracks):
        points = None if k in (4, 5) else face + rng.normal(0, 3, 2) + 40 * track
        for weaver in (kept, running):
            weaver.add(IMAGE, points, track)
    for weaver in (kept, running):
        weaver.finish()
    strayed = []
    for k in range(len(tracks) - 2):
        if tracks[k] == tracks[k + 2]:
            one, two, three = kept.places[k : k + 3]
            x, y = one.x - 2 * two.x + three.x, one.y - 2 * two.y + three.y
            strayed.append((x * x + y * y) * two.scale**2)
    assert kept.jitter() == running.jitter() == pytest.approx(np.sqrt(np.mean(strayed)))
    assert running.places is None


@pytest.mark.parametrize(("face", "number"), [("largest", None), ("track:1", 1), ("track:12", 12)])
def test_faces_by_name(face, number):
    assert face_number(face) == number


@pytest.mark.parametrize("face", ["", "smallest", "track", "track:0", "track:-1", "track:x"])
def test_no_such_face(face):
    with pytest.raises(RoiError, match="no face"):
        face_number(face)


def test_the_centre_is_guessed_in_several_sizes():
    found = Centre().find(IMAGE)
    assert {(f.x, f.y) for f in found} == {(100, 50)}
    assert len({f.side for f in found}) == 3
    assert Centre().search(IMAGE) == found


def test_detectors_by_name(tmp_path):
    assert isinstance(make_detector("centre", models=tmp_path), Centre)
    with pytest.raises(RoiError, match="no face detector"):
        make_detector("eyes", models=tmp_path)
    with pytest.raises(RoiError, match="detector-weights"):
        make_detector("yunet", models=tmp_path)
    with pytest.raises(RoiError, match="no such file"):
        make_detector("yunet", models=tmp_path, weights=tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model" * 20)
    with pytest.raises(RoiError, match="not a file of YuNet"):
        make_detector("yunet", models=tmp_path, weights=tmp_path / "bad.onnx")
    assert set(DETECTORS) == {"blazeface", "yunet", "cascade", "mediapipe", "centre"}


def test_a_cascade_where_opencv_has_one():
    if hasattr(cv2, "CascadeClassifier"):
        assert Cascade().find(IMAGE) == []
    else:
        with pytest.raises(RoiError, match="has no cascades"):
            Cascade()


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.weights
@pytest.mark.parametrize("name", ["yunet", "centre"])
def test_crops_hardly_depend_on_the_detector(data, name):
    """A detector only says where to look first."""
    import json

    from avsr.errors import AvsrError
    from avsr.weights import pull
    from frontends.media import open_clip

    pytest.importorskip("ai_edge_litert")
    try:
        models = pull("face-models", local_files_only=True)
    except AvsrError as error:
        pytest.skip(f"no face models: {error}")
    weights = data / "weights" / "face_detection_yunet_2026may.onnx"
    if name == "yunet":
        yunet = YuNet(weights=weights)
    rows = map(json.loads, (data / "manifest.jsonl").read_text().splitlines())
    row = next(r for r in rows if r["corpus"] == "grid" and r["split"] == "test")
    clip = open_clip(data / row["video_filepath"], streams="v")
    usual = LipTracker(weights=models).track(clip)
    other = LipTracker(
        weights=models, detector=name, detector_weights=weights if name == "yunet" else None
    ).track(clip)
    assert other.coverage == usual.coverage == 1.0
    assert np.abs(other.crops.astype(int) - usual.crops).mean() < 2
    assert usual.cuts == 0
    assert 0 < usual.jitter < 2
    if name == "yunet":
        image = next(clip.frames()).image
        (face,) = yunet.find(image)
        assert yunet.search(image) == [face]
        assert Face(face.x, face.y, face.side, 0).overlaps(
            LipTracker(weights=models)._detector.find(image)[0], 0.3
        )
    assert len(POINTS) == 15
