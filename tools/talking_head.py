"""A face we draw ourselves: the pictures of made clips.

`Mouth`, `Pose` -> `Head.draw` -> uint8 RGB [288, 360, 3]

The face is a height field over the picture: an ellipsoid with Gaussian bumps for nose, cheeks, brow
and chin, lit by one soft lamp and coloured by masks for skin, lips, eyes, brows and hair. Nothing
in it comes from a picture of a person. Lengths are in half widths of the face (`UNIT` pixels), x to
the right, y down, the origin between nose and eyes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from visemes import Mouth

Plane = NDArray[np.float32]

WIDTH, HEIGHT = 360, 288  # px, as in the GRID corpus
FINE = 2  # drawn this much larger, then shrunk
UNIT = 58.0  # px in half the width of the face
CENTRE = (180.0, 146.0)  # px, where x = y = 0
HEAD = (112, 42, 248, 232)  # px: left, top, right, bottom of what moves with the head
LIP_Y = 0.64  # where closed lips meet


@dataclass(frozen=True)
class Look:
    """Colours, RGB 0 to 255."""

    skin: tuple[int, int, int] = (222, 170, 144)
    lips: tuple[int, int, int] = (190, 108, 100)
    hair: tuple[int, int, int] = (62, 42, 30)
    iris: tuple[int, int, int] = (96, 74, 48)
    shirt: tuple[int, int, int] = (58, 62, 74)
    wall: tuple[int, int, int] = (14, 140, 206)


@dataclass(frozen=True)
class Pose:
    """How the head is held and what the eyes do.

    Attributes:
        x: shift, px.
        y: shift, px.
        turn: degrees, clockwise.
        blink: 0 eyes open, 1 shut.
        brow: raised by this much, 0 to 1.
    """

    x: float = 0.0
    y: float = 0.0
    turn: float = 0.0
    blink: float = 0.0
    brow: float = 0.0


class Head:
    """Draws one person.

    Args:
        look: the colours.
        seed: of hair strands, skin and camera noise.
    """

    def __init__(self, look: Look | None = None, *, seed: int = 0) -> None:
        self._look = look or Look()
        rng = np.random.default_rng(seed)
        high, wide = HEIGHT * FINE, WIDTH * FINE
        rows, columns = np.mgrid[0:high, 0:wide].astype(np.float32)
        x = ((columns + 0.5) / FINE - CENTRE[0]) / UNIT
        y = ((rows + 0.5) / FINE - CENTRE[1]) / UNIT
        raw = rng.standard_normal((3, high, wide)).astype(np.float32)
        strands = _level(cv2.GaussianBlur(raw[0], (0, 0), sigmaX=0.9, sigmaY=9.0))
        blotch = _level(cv2.GaussianBlur(raw[1], (0, 0), sigmaX=9.0))
        pores = _level(cv2.GaussianBlur(raw[2], (0, 0), sigmaX=1.4))
        self._grain = rng.standard_normal((8, HEIGHT, WIDTH, 1)).astype(np.float32)
        self._back = self._room(x, y, 0.04 * pores + 0.05 * blotch)
        part = np.s_[HEAD[1] * FINE : HEAD[3] * FINE, HEAD[0] * FINE : HEAD[2] * FINE]
        self._x, self._y = x[part], y[part]
        self._strands, self._blotch, self._pores = strands[part], blotch[part], pores[part]

    def draw(self, mouth: Mouth, pose: Pose | None = None, *, frame: int = 0) -> NDArray[np.uint8]:
        """One picture.

        Args:
            mouth: its shape.
            pose: of head, eyes, brows.
            frame: number, which picks the camera noise.

        Returns:
            uint8 RGB [288, 360, 3].
        """
        pose = pose or Pose()
        colour, cover = self._head(mouth, pose)
        pivot = (CENTRE[0] * FINE, (CENTRE[1] + 1.6 * UNIT) * FINE)  # heads turn on the neck
        move = cv2.getRotationMatrix2D(pivot, -pose.turn, 1.0)
        move[:, 2] += (pose.x * FINE, pose.y * FINE)
        move[:, 2] += move[:, :2] @ np.array([HEAD[0] * FINE, HEAD[1] * FINE])
        size = (WIDTH * FINE, HEIGHT * FINE)
        layer = cv2.warpAffine(np.dstack([colour * cover[..., None], cover]), move, size)
        whole = self._back * (1 - layer[..., 3:]) + layer[..., :3]
        whole = cv2.resize(whole, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        whole = cv2.GaussianBlur(whole, (0, 0), 0.6) + 1.5 * self._grain[frame % 8]
        return np.clip(whole + 0.5, 0, 255).astype(np.uint8)

    def _room(self, x: Plane, y: Plane, weave: Plane) -> Plane:
        """Wall, shoulders and neck: all that stays where it is."""
        light = 1.04 - 0.022 * (x - 0.6) ** 2 - 0.03 * (y + 0.3) ** 2
        room = np.array(self._look.wall, np.float32) * light[..., None]
        # Shoulders: a broad curve, darker towards the arms, with a collar.
        top = 1.52 + 0.16 * np.abs(x) ** 1.4 + 0.8 * np.clip(np.abs(x) - 1.75, 0, None) ** 1.6
        shade = 1.0 - 0.16 * np.abs(x + 0.25) + weave
        shirt = np.array(self._look.shirt, np.float32) * shade[..., None]
        room = _over(room, shirt, _edge(top - y))
        # Neck: a cylinder, in the shadow of the chin.
        half = 0.68 + 0.6 * np.clip(y - 1.3, 0, None) ** 2
        round_ = np.sqrt(np.clip(1 - (x / half) ** 2, 0.0, 1))
        shadow = 0.52 + 0.36 * _smooth((y - 1.1) / 0.8)
        neck = np.array(self._look.skin, np.float32) * (shadow * (0.55 + 0.45 * round_))[..., None]
        vee = 1.98 - 0.75 * np.abs(x)
        return _over(room, neck, _edge(np.abs(x) - half) * _edge(y - vee) * _edge(0.5 - y))

    def _head(self, mouth: Mouth, pose: Pose) -> tuple[Plane, Plane]:
        """Colour [.., .., 3] and cover [.., ..] of everything that moves with the head."""
        x, look = self._x, self._look
        drop = 0.15 * mouth.open
        # The jaw: all below the lips is shifted down by `drop`, so look that much higher up.
        y = self._y - drop * _smooth((self._y - 0.45) / 0.55)
        shape = _Lips(mouth)
        height, inside = self._relief(x, y, shape)
        slope_y, slope_x = np.gradient(height, 1 / (UNIT * FINE))
        length = np.sqrt(slope_x**2 + slope_y**2 + 1)
        lamp = np.array([-0.30, -0.40, 0.866], np.float32)
        facing = (-slope_x * lamp[0] - slope_y * lamp[1] + lamp[2]) / length
        light = 0.42 + 0.60 * np.clip((facing + 0.25) / 1.25, 0, 1) + 0.10 / length
        shine = np.clip(facing, 0, 1) ** 24

        skin = np.array(look.skin, np.float32) * (
            1 + 0.018 * self._blotch[..., None] + 0.010 * self._pores[..., None]
        )
        flush = 0.5 * (_bump(x, y, -0.58, 0.2, 0.26, 0.2) + _bump(x, y, 0.58, 0.2, 0.26, 0.2))
        flush += 0.5 * _bump(x, y, 0, 0.2, 0.16, 0.14)
        skin = skin * (1 - flush[..., None] * np.array([0.02, 0.14, 0.12], np.float32))
        beard = _smooth((y - 0.4) / 0.4) * (1 - 0.5 * _bump(x, y, 0, 0.5, 0.2, 0.1))
        skin = skin * (1 - beard[..., None] * np.array([0.07, 0.05, 0.03], np.float32))
        skin = skin * light[..., None] + (10 * shine)[..., None]
        for side in (-1, 1):
            u = side * x
            fold = _bump(u, y, 0.36 + 0.16 * (y - 0.45), 0.47, 0.022, 0.16)
            bag = _bump(u, y, 0.41, -0.235 + 0.25 * (u - 0.41) ** 2, 0.17, 0.02)
            nostril = _bump(u, y, 0.095, 0.325, 0.048, 0.02)
            wing = _bump(u, y, 0.205, 0.27, 0.016, 0.06)
            skin *= (1 - 0.13 * fold - 0.10 * bag - 0.75 * nostril - 0.2 * wing)[..., None]
        skin *= (1 - 0.16 * _bump(x, y, 0, 0.36, 0.16, 0.03))[..., None]

        face = self._eyes(skin, x, y, pose, light)
        face = self._mouth(face, shape, light, shine)
        ears, ear_cover = self._ears(light)
        hair, hair_cover = self._hair(x, self._y)
        cover = np.maximum(inside, ear_cover)
        colour = _over(ears, face, inside)
        return _over(colour, hair, hair_cover), np.maximum(cover, hair_cover)

    def _relief(self, x: Plane, y: Plane, lips: _Lips) -> tuple[Plane, Plane]:
        """Height of the face and where there is face."""
        fall = np.where(y < 0, np.abs(y / 1.36) ** 2.8, np.abs(y / 1.29) ** 2.5)
        side = np.abs(x / (0.96 - 0.10 * _smooth((y - 0.2) / 0.9))) ** 2.3
        left = 1 - fall - side
        height = 1.0 * np.sqrt(np.clip(left, 0.004, None))
        height += 0.15 * _bump(x, y, 0, 0.02, 0.12, 0.26) + 0.21 * _bump(x, y, 0, 0.2, 0.14, 0.12)
        height += 0.05 * _bump(x, y, 0, 1.05, 0.22, 0.12) - 0.035 * _bump(x, y, 0, 0.9, 0.2, 0.05)
        height += 0.07 * _bump(x, y, 0, 0.62, 0.4, 0.22) - 0.015 * _bump(x, y, 0, 0.45, 0.03, 0.06)
        for side_ in (-1, 1):
            u = side_ * x
            height += 0.09 * _bump(u, y, 0.15, 0.25, 0.06, 0.065)
            height += 0.07 * _bump(u, y, 0.56, 0.02, 0.24, 0.18)
            height += 0.06 * _bump(u, y, 0.4, -0.6, 0.26, 0.08)
            height -= 0.12 * _bump(u, y, 0.40, -0.36, 0.2, 0.12)
            height += 0.065 * _bump(u, y, 0.42, -0.37, 0.14, 0.09)
            height -= 0.05 * _bump(u, y, 0.16, -0.35, 0.06, 0.1)
        height += lips.relief(self._x, self._y)
        return height.astype(np.float32), np.clip(left * UNIT * FINE * 0.25, 0, 1)

    def _eyes(self, face: Plane, x: Plane, y: Plane, pose: Pose, light: Plane) -> Plane:
        look = self._look
        for side in (-1, 1):
            u, v = side * x - 0.42, y + 0.36
            arch = np.sqrt(np.clip(1 - (u / 0.2) ** 2, 0, 1))
            rise = 0.085 * arch * (1 - 0.25 * u / 0.2)
            lower = 0.058 * arch + 0.02 * u
            upper = -rise + (rise + lower) * pose.blink
            ball = _edge(upper - v) * _edge(v - lower) * (arch > 0)
            white = np.array([228, 216, 210], np.float32) * (0.62 + 0.42 * light)[..., None]
            away = np.hypot(u + side * 0.01, v + 0.012)
            iris = np.array(look.iris, np.float32) * (0.75 + 4.0 * away)[..., None]
            eye = _over(white, iris, _edge(away - 0.094))
            eye = _over(
                eye, np.full(3, 38, np.float32), 0.6 * _bump(away, away, 0.096, 0.096, 0.01, 1)
            )
            eye = _over(eye, np.full(3, 14, np.float32), _edge(away - 0.042))
            glint = _edge(np.hypot(x - side * 0.42 + 0.032, v + 0.045) - 0.02)
            eye = _over(eye, np.full(3, 245, np.float32), 0.85 * glint)
            eye = eye * (1 - 0.5 * np.exp(-np.clip(v - upper, 0, None) / 0.025))[..., None]
            face = _over(face, eye, ball)
            wide = _edge(np.abs(u) - 0.21)
            lash = np.exp(-(((v - upper + 0.004) / 0.014) ** 2)) * wide
            face = _over(face, np.array([52, 34, 28], np.float32), 0.85 * lash)
            rim = np.exp(-(((v - lower - 0.006) / 0.012) ** 2)) * wide
            face = _over(face, np.array([150, 96, 84], np.float32), 0.4 * rim)
            crease = np.exp(-(((v + rise + 0.045) / 0.014) ** 2)) * wide
            face = _over(face, np.array([130, 84, 68], np.float32), 0.45 * crease)
            # Brow: an arch, thick near the nose, thin at the temple.
            along = (side * x - 0.13) / 0.58
            middle = -0.615 - 0.11 * np.sin(np.clip(along, 0, 1) * 2.3) - 0.05 * pose.brow
            thick = 0.058 * (1 - 0.62 * np.clip(along, 0, 1))
            off = np.abs(y - middle - 0.07 * along**2) / thick
            brow = np.clip(1.35 - off**2, 0, 1) * _smooth(along / 0.1) * _smooth((1 - along) / 0.15)
            face = _over(
                face,
                np.array(look.hair, np.float32),
                brow * np.clip(0.72 + 0.18 * self._strands, 0, 1),
            )
        return face

    def _mouth(self, face: Plane, lips: _Lips, light: Plane, shine: Plane) -> Plane:
        x, y = self._x, self._y
        upper, lower, hole = lips.masks(x, y)
        inside = np.array([70, 26, 26], np.float32) * np.ones_like(face)
        if lips.mouth.tongue > 0.02 or lips.mouth.open > 0.3:
            rise = lips.inner_low(x) - 0.05 - 0.06 * lips.mouth.tongue - 0.04 * lips.mouth.open
            tongue = _edge(rise + 1.2 * x**2 - y)
            inside = _over(inside, np.array([168, 84, 84], np.float32), 0.75 * tongue)
        top = lips.inner_top(x)
        bite = top + 0.10 * lips.mouth.teeth - 0.25 * x**2
        gaps = 1 - 0.10 * np.clip(np.cos(x / 0.066 * 2 * np.pi) - 0.86, 0, None) / 0.14
        enamel = np.array([204, 195, 181], np.float32) * (gaps * (1 - 1.3 * x**2))[..., None]
        inside = _over(inside, enamel, 0.92 * _edge(y - bite) * min(1.0, 3 * lips.mouth.teeth))
        low_teeth = _edge(lips.inner_low(x) - 0.03 * lips.mouth.teeth + 0.5 * x**2 - y)
        inside = _over(inside, enamel * 0.7, 0.3 * low_teeth * lips.mouth.teeth)
        depth = np.clip((y - top) / 0.07, 0, 1)
        inside = inside * (0.45 + 0.55 * depth)[..., None]
        face = _over(face, inside, hole)
        red = np.array(self._look.lips, np.float32) * (1 + 0.03 * self._pores[..., None])
        face = _over(face, red * (0.88 * light)[..., None], 0.9 * upper)
        gloss = (26 * np.clip(shine * 2.5, 0, 1))[..., None]
        face = _over(face, red * (1.06 * light)[..., None] + gloss, 0.85 * lower)
        seam = lips.seam(x, y)
        return _over(face, np.array([84, 34, 34], np.float32), seam)

    def _ears(self, light: Plane) -> tuple[Plane, Plane]:
        x, y = self._x, self._y
        colour = np.array(self._look.skin, np.float32) * 0.80 * np.ones((*x.shape, 1), np.float32)
        cover = np.zeros_like(x)
        for side in (-1, 1):
            u = side * x - 0.985
            v = y + 0.12
            away = np.hypot((u + 0.22 * v) / 0.13, v / 0.32)
            cover = np.maximum(cover, np.clip((1 - away) * UNIT * FINE * 0.13, 0, 1))
            colour = colour * (1 - 0.35 * _bump(away, away, 0.45, 0.45, 0.25, 9))[..., None]
        lit = np.where(x < 0, 1.02, 0.84)[..., None]
        return colour * np.array([1.0, 0.9, 0.88], np.float32) * lit, cover

    def _hair(self, x: Plane, y: Plane) -> tuple[Plane, Plane]:
        fringe = 0.035 * self._strands
        dome = 1 - (np.abs(x) / 1.08) ** 2.3 - (np.abs(y + 0.32) / 1.30) ** 2.2
        outer = np.clip((dome + 0.5 * fringe) * UNIT * FINE * 0.3, 0, 1)
        # Hairline: high over the forehead with a parting, down the temples to the ears.
        line = -1.06 + 0.12 * x + 0.05 * np.abs(x) + 3.4 * np.clip(np.abs(x) - 0.64, 0, None) ** 1.1
        line = np.where(np.abs(x) > 0.9, np.minimum(line, -0.08), line)
        line = np.minimum(line, -0.08)
        below = np.clip((line + 1.6 * fringe - y) * UNIT * FINE * 0.12, 0, 1)
        round_ = np.sqrt(np.clip(dome, 0, 1))
        glow = np.exp(-(((y + 1.22 - 0.25 * x**2) / 0.14) ** 2)) * (1 - 0.6 * np.abs(x + 0.25))
        light = 0.5 + 0.55 * round_ + 0.45 * np.clip(glow, 0, 1) + 0.16 * self._strands
        light = light * (1.08 - 0.22 * x)
        return np.array(self._look.hair, np.float32) * np.clip(light, 0.2, 3)[
            ..., None
        ], outer * below


class _Lips:
    """Curves of the lips for one shape; x is distance from the middle, results are y."""

    def __init__(self, mouth: Mouth) -> None:
        self.mouth = mouth
        self.half = 0.36 * (1 + 0.24 * (mouth.wide - 0.5) * 2 - 0.12 * mouth.round)
        self.half -= 0.025 * mouth.open
        self.up = 0.065 * mouth.open + 0.012 * mouth.teeth * min(1, 8 * mouth.open)
        self.down = 0.20 * mouth.open
        full = 1 + 0.22 * mouth.round - 0.45 * mouth.press
        self.top = 0.098 * full * (1 - 0.12 * mouth.open)
        self.bottom = 0.128 * full * (1 - 0.10 * mouth.open) * (1 - 0.45 * mouth.tuck)
        self.rise = -0.06 * mouth.tuck  # lower lip moves up to the teeth

    def _bow(self, x: Plane, power: float) -> Plane:
        return np.clip(1 - np.abs(x / self.half) ** 2.2, 0, 1) ** power

    def _corner(self, x: Plane) -> Plane:
        return LIP_Y + (0.06 * self.mouth.open - 0.014) * np.abs(x / self.half) ** 2

    def inner_top(self, x: Plane) -> Plane:
        dip = 0.010 * np.exp(-((x / 0.06) ** 2)) * (1 - self.mouth.open)
        return self._corner(x) - self.up * self._bow(x, 0.65) + dip

    def inner_low(self, x: Plane) -> Plane:
        low = self._corner(x) + (self.down + self.rise * 0.4) * self._bow(x, 0.6)
        return np.maximum(low, self.inner_top(x))

    def outer_top(self, x: Plane) -> Plane:
        cupid = (
            1
            - 0.17 * np.exp(-((x / 0.05) ** 2))
            + 0.06 * np.exp(-(((np.abs(x) - 0.085) / 0.05) ** 2))
        )
        return self.inner_top(x) - self.top * cupid * self._bow(x, 0.85)

    def outer_low(self, x: Plane) -> Plane:
        return self.inner_low(x) + self.bottom * self._bow(x, 0.62)

    def masks(self, x: Plane, y: Plane) -> tuple[Plane, Plane, Plane]:
        """Upper lip, lower lip, the hole between: 0 to 1."""
        within = _edge(np.abs(x) - self.half)
        a, b = self.outer_top(x), self.inner_top(x)
        c, d = self.inner_low(x), self.outer_low(x)
        soft = 2.4  # lips fade into skin
        upper = _edge(a - y, soft) * _edge(y - b) * within
        lower = _edge(c - y) * _edge(y - d, soft) * within
        return upper, lower, _edge(b - y) * _edge(y - c) * within

    def relief(self, x: Plane, y: Plane) -> Plane:
        """Height the lips add to the face."""
        a, b, c, d = self.outer_top(x), self.inner_top(x), self.inner_low(x), self.outer_low(x)
        within = self._bow(x, 0.5)
        full = 0.05 + 0.05 * self.mouth.round - 0.02 * self.mouth.press
        up = np.sin(np.pi * np.clip((y - a) / np.maximum(b - a, 1e-3), 0, 1) ** 0.8)
        low = np.sin(np.pi * np.clip((y - c) / np.maximum(d - c, 1e-3), 0, 1) ** 0.8)
        return within * full * (0.8 * up + 1.25 * low)

    def seam(self, x: Plane, y: Plane) -> Plane:
        """The dark line where the lips meet, strongest when they do."""
        off = y - 0.5 * (self.inner_top(x) + self.inner_low(x))
        gap = self.inner_low(x) - self.inner_top(x)
        line = np.exp(-((off / 0.013) ** 2)) * np.exp(-gap / 0.02)
        return 0.8 * line * _smooth((self.half * 1.04 - np.abs(x)) / 0.04)


def _edge(distance: Plane, soft: float = 1.0) -> Plane:
    """1 where the distance is negative, 0 where positive, a pixel of ramp between."""
    return np.clip(0.5 - distance * (UNIT * FINE / 2 / soft), 0, 1).astype(np.float32)


def _smooth(t: Plane) -> Plane:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _bump(
    x: Plane, y: Plane, x0: float | Plane, y0: float | Plane, wide: float, high: float
) -> Plane:
    """A Gaussian of height 1."""
    return np.exp(-0.5 * (((x - x0) / wide) ** 2 + ((y - y0) / high) ** 2))


def _over(below: Plane, above: Plane, cover: Plane) -> Plane:
    return below + (above - below) * cover[..., None]


def _level(noise: Plane) -> Plane:
    return noise / noise.std()
