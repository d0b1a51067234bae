"""D8: the choice of the largest face began anew with each face, and measured it by a wrong sum.

Seen in auto_avsr's MediaPipe detector: with several people a wrong one was read.
"""

from itertools import permutations

import numpy as np

from frontends.faces import Face, _distinct, _merge


def test_the_largest_face_comes_first_in_whatever_order_they_are_found():
    far = [Face(10, 10, 20, 0.0), Face(900, 500, 80, 0.0), Face(400, 30, 50, 0.0)]
    for order in permutations(far):
        assert [face.side for face in _distinct(list(order))] == [80, 50, 20]


def test_size_is_the_size_of_the_box_and_not_its_place():
    """(w - x) + (h - y) made a small face near the corner of the picture the largest."""
    boxes = np.zeros((2, 8, 2))
    boxes[0, 0], boxes[0, 1] = (5, 5), (10, 10)
    boxes[1, 0], boxes[1, 1] = (900, 700), (60, 60)
    for score in ([0.9, 0.6], [0.6, 0.9]):
        assert _merge(boxes, np.array(score))[0].side == 60
