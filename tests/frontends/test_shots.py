"""Changes of view are found; talking, moving and changing light are none."""

import cv2
import numpy as np

from frontends.shots import ShotWatch


def scene(seed, size=(120, 160)):
    """A smooth picture of its own."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)


def cuts(pictures):
    watch = ShotWatch()
    found = [k for k, picture in enumerate(pictures) if watch.cut(picture)]
    assert len(found) == watch.cuts
    return found


def test_a_film_of_three_views_has_two_cuts():
    film = [scene(1)] * 10 + [scene(2)] * 8 + [scene(3)] * 5
    assert cuts(film) == [10, 18]


def test_a_moving_camera_and_a_moving_thing_are_no_cuts():
    wide = scene(4, (200, 400))
    assert cuts([wide[k : k + 120, 3 * k : 3 * k + 160] for k in range(60)]) == []
    film = []
    for k in range(30):
        picture = scene(5).copy()
        picture[40:80, 4 * k : 4 * k + 40] = 255
        film.append(picture)
    assert cuts(film) == []


def test_light_that_goes_on_is_no_cut():
    dark = (scene(6) // 4).astype(np.uint8)
    assert cuts([dark, scene(6), dark, dark, scene(6)]) == []


def test_noise_and_blackness_are_no_cuts():
    rng = np.random.default_rng(0)
    noisy = [np.clip(scene(7) + rng.normal(0, 20, (120, 160, 3)), 0, 255) for _ in range(9)]
    assert cuts([picture.astype(np.uint8) for picture in noisy]) == []
    assert cuts([np.zeros((10, 10, 3), np.uint8)] * 4) == []
