"""Make the demo clip: a drawn head that says a sentence with a synthetic voice.

    python tools/make_demo_clip.py         # avsr/models/demo.mp4 and demo.txt, as shipped
    python tools/make_demo_clip.py --sentence "set red by q two now" --voice bm_lewis --out x.mp4

How it is made. The sentence, which follows the grammar of the GRID corpus but is none of the
sentences of our data, is read by Kokoro-82M (`voice.py`; weights and voices Apache-2.0). The
network tells how long each phoneme lasts; `visemes.py` turns these times into the shape of a mouth,
40 ms ahead of the sound, and `talking_head.py` draws a head with that mouth, 25 pictures a second,
before a blue wall like GRID's. Head and brows sway and the eyes blink, all from a seed. White noise
60 dB below full scale stands in for a room. H.264 and AAC by PyAV.

So nobody's face or voice is in it, and it shows that the program runs, not how well it reads lips:
the video tower has only met real faces in training. Sentence, voice and speed
are picked by hand from a few, so no figure may be drawn from the shipped clip.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from talking_head import HEIGHT, WIDTH, Head, Look, Pose
from visemes import MouthTrack, Timed, joined

Wave = NDArray[np.float32]
Picture = NDArray[np.uint8]

FPS = 25
RATE = 16_000  # Hz
SECONDS = 3.0
SENTENCE, VOICE, SPEED = "place green by k seven again", "bm_daniel", 0.95
DEMO = Path(__file__).resolve().parents[1] / "avsr" / "models" / "demo.mp4"
GRAMMAR = (
    "bin lay place set",
    "blue green red white",
    "at by in with",
    "a b c d e f g h i j k l m n o p q r s t u v x y z",
    "zero one two three four five six seven eight nine",
    "again now please soon",
)


def spoken(sentence: str) -> str:
    """The sentence as the voice has to be given it: the letter as a letter.

    Raises:
        ValueError: it does not follow GRID's grammar.
    """
    words = sentence.split()
    fits = len(words) == len(GRAMMAR) and all(
        word in choice.split() for word, choice in zip(words, GRAMMAR, strict=False)
    )
    if not fits:
        raise ValueError(f"not command, colour, preposition, letter, digit, adverb: {sentence!r}")
    words[3] = words[3].upper()
    return " ".join(words).capitalize().replace(f" {words[3].lower()} ", f" {words[3]} ") + "."


def poses(count: int, phones: Sequence[Timed], *, seed: int) -> list[Pose]:
    """How the head is held in each picture: slow sway, a nod with the voice, two blinks."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * math.pi, 4)
    voiced = [(a, b) for symbol, a, b in joined(phones) if symbol.isalpha()]
    blinks = (0.24, max((b for _, b in voiced), default=2.0) + 0.2)
    out = []
    for index in range(count):
        t = index / FPS
        talk = sum(b - a for a, b in voiced if abs((a + b) / 2 - t) < 0.2) / 0.4
        out.append(
            Pose(
                x=1.2 * math.sin(2 * math.pi * 0.31 * t + phase[0]),
                y=0.9 * math.sin(2 * math.pi * 0.43 * t + phase[1]) + 0.8 * talk,
                turn=0.9 * math.sin(2 * math.pi * 0.27 * t + phase[2]),
                blink=max(math.exp(-(((t - b) / 0.055) ** 2)) for b in blinks),
                brow=0.3 + 0.3 * math.sin(2 * math.pi * 0.6 * t + phase[3]),
            )
        )
    return out


def write_mp4(path: Path, pictures: Sequence[Picture], wave: Wave) -> None:
    """H.264 and AAC in one file; both tracks begin at zero.

    Args:
        path: of the file.
        pictures: uint8 RGB [288, 360, 3] at 25 a second.
        wave: [S] 16 kHz mono.
    """
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as out:
        video = out.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "slow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream("aac", rate=RATE, layout="mono", bit_rate=64_000)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = RATE, 0, Fraction(1, RATE)
        out.mux(audio.encode(sound))
        out.mux(audio.encode(None))


def main() -> None:
    """Speak, draw, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentence", default=SENTENCE)
    parser.add_argument("--voice", default=VOICE)
    parser.add_argument("--speed", type=float, default=SPEED)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DEMO)
    parser.add_argument("--kokoro", type=Path, default=Path.home() / ".cache" / "kokoro")
    args = parser.parse_args()

    # Brings kokoro-onnx along, which everything above does without.
    from voice import Kokoro, Phone

    kokoro = Kokoro(args.kokoro)
    speech = kokoro.say(spoken(args.sentence), voice=args.voice, speed=args.speed).trimmed(0.05)
    length = len(speech.wave) / RATE
    if length > SECONDS - 0.3:
        raise SystemExit(f"{length:.2f} s of speech do not fit into {SECONDS} s: raise --speed")
    lead = round((SECONDS - length) / 2 * RATE)
    wave = 1e-3 * np.random.default_rng(args.seed).standard_normal(round(SECONDS * RATE))
    wave[lead : lead + len(speech.wave)] += 0.6 * speech.wave / np.abs(speech.wave).max()
    phones = [Phone(p.symbol, p.start + lead / RATE, p.end + lead / RATE) for p in speech.phones]

    track, head = MouthTrack(phones), Head(LOOKS[args.voice[1]], seed=args.seed)
    count = round(SECONDS * FPS)
    pictures = []
    for index, pose in enumerate(poses(count, phones, seed=args.seed)):
        pictures.append(head.draw(track.at(index / FPS), pose, frame=index))
    write_mp4(args.out, pictures, wave.astype(np.float32))
    args.out.with_suffix(".txt").write_text(args.sentence + "\n", encoding="utf-8")
    if args.out != DEMO:  # a strip of every sixth picture, to judge the mouth by
        strip = np.hstack([p[70:240, 110:250] for p in pictures[6::6]])
        cv2.imwrite(str(args.out.with_suffix(".png")), strip[:, :, ::-1])
    print(f"{args.out}: {args.out.stat().st_size} bytes, {length:.2f} s of speech")


LOOKS = {
    "m": Look(),
    "f": Look(skin=(232, 184, 160), lips=(200, 96, 96), hair=(104, 62, 36), iris=(70, 96, 110)),
}


if __name__ == "__main__":
    main()
