"""Noise at a stated level: what robustness is trained and measured with.

Data: speech [S] + noise [S'] at 16 kHz, an SNR in dB, a seed -> noisy speech [S].

The level of speech is its mean power over active samples: those in 20 ms frames within 35 dB of
the loudest frame. The level of noise is its mean power over the very same samples, so pauses
neither raise nor lower an SNR, and what was asked for is what `measured_snr` finds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from frontends.errors import AvsrError

__all__ = ["babble", "measured_snr", "mix", "seed_of", "speech_active"]

Wave = NDArray[np.float32]

RATE = 16_000  # samples per second
FRAME = RATE // 50  # samples
ACTIVE_RANGE = 35.0  # dB below the loudest frame
SILENCE = 1e-12  # mean power of the loudest frame; full scale is 1
TALKER_LEVEL = 0.05  # root mean square of each babble talker while talking
TRIES = 16  # places in a noise recording that are looked at before its loudest is taken
FAINTEST = 1e-3  # least share of a recording's mean power that a chosen stretch must have


def speech_active(speech: Wave) -> NDArray[np.bool_]:
    """Which samples belong to speech rather than to a pause.

    Args:
        speech: samples [S] at 16 kHz.

    Returns:
        True inside 20 ms frames within 35 dB of the loudest frame [S].

    Raises:
        AvsrError: the speech is silent, empty or not finite.
    """
    power = np.square(_checked(speech, "speech"))
    starts = np.arange(0, power.size, FRAME)
    if power.size == 0:
        raise _silent("speech")
    counts = np.diff(np.append(starts, power.size))
    frames = np.add.reduceat(power, starts) / counts
    if frames.max() < SILENCE:
        raise _silent("speech")
    return np.repeat(frames >= frames.max() * 10 ** (-ACTIVE_RANGE / 10), counts)


def measured_snr(speech: Wave, noise_part: Wave) -> float:
    """Signal-to-noise ratio over the active samples of the speech.

    Args:
        speech: clean samples [S] at 16 kHz.
        noise_part: what was added to them [S].

    Returns:
        dB; infinite if nothing was added.

    Raises:
        AvsrError: silent speech, samples that are not finite, or parts of different length.
    """
    active, added = speech_active(speech), _checked(noise_part, "noise")
    if added.shape != active.shape:
        raise AvsrError(f"speech has {active.size} samples and its noise {added.size}")
    signal, noise = _power(speech, active), _power(added, active)
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)


def mix(speech: Wave, noise: Wave, *, snr_db: float, seed: int) -> Wave:
    """Add noise to speech at a signal-to-noise ratio; the speech itself is left as it is.

    A recording longer than the speech is entered at a seeded place; a shorter one goes round from a
    seeded offset. The sum is not clipped and not rescaled: at a low SNR it may exceed 1, which
    floats hold and a 16-bit file would not.

    Args:
        speech: samples [S] at 16 kHz.
        noise: samples [S'] at 16 kHz, of any length and level.
        snr_db: SNR over the active samples of the speech; 0.0 is 0 dB: as loud as the speech.
        seed: of the place in the noise; `seed_of` makes it from a clip's name.

    Returns:
        Noisy speech [S] float32.

    Raises:
        AvsrError: silent or empty speech or noise, samples that are not finite, or such an SNR.
    """
    if not math.isfinite(snr_db):
        raise AvsrError(f"an SNR of {snr_db} dB", todo="For clean speech add no noise")
    active = speech_active(speech)
    chosen = _stretch(_checked(noise, "noise"), active, np.random.default_rng(seed))
    gain = math.sqrt(_power(speech, active) / _power(chosen, active) / 10 ** (snr_db / 10))
    noisy: Wave = (speech.astype(np.float64) + gain * chosen).astype(np.float32)
    return noisy


def babble(speeches: Sequence[Wave], *, talkers: int, seconds: float, seed: int) -> Wave:
    """Several people talking at once, each as loud as the others.

    The speeches are dealt out to the talkers, each of whom says his own one after the other, from a
    seeded offset, and over again if they are too short.

    Args:
        speeches: recordings [S_i] at 16 kHz, at least one for each talker.
        talkers: how many talk at a time.
        seconds: length of the result.
        seed: of the dealing and the offsets.

    Returns:
        Samples [seconds * 16000] float32, each talker at 0.05 of full scale.

    Raises:
        AvsrError: too few speeches, a silent one, or no length.
    """
    samples = round(seconds * RATE)
    if talkers < 1 or samples < 1:
        raise AvsrError(f"babble of {talkers} talkers for {seconds} s")
    if len(speeches) < talkers:
        raise AvsrError(
            f"{len(speeches)} speeches for {talkers} talkers",
            todo="Give more speech, or ask for fewer talkers",
        )
    rng = np.random.default_rng(seed)
    deal = rng.permutation(len(speeches))
    total = np.zeros(samples)
    for talker in range(talkers):
        said: list[NDArray[np.float64]] = []
        for i in deal[talker::talkers]:
            level = math.sqrt(_power(speeches[i], speech_active(speeches[i])))
            said.append(speeches[i].astype(np.float64) * (TALKER_LEVEL / level))
            if sum(map(len, said)) >= samples:
                break
        total += _round(np.concatenate(said), int(rng.integers(sum(map(len, said)))), samples)
    mixed: Wave = total.astype(np.float32)
    return mixed


def seed_of(clip_id: str, salt: str) -> int:
    """A seed that depends on the clip alone, not on the order or the number of clips.

    Args:
        clip_id: name of the clip.
        salt: what the seed is for, so that uses do not share their chance.

    Returns:
        Whole number from 0 to 2**63 - 1, the same on every machine.
    """
    text = f"{len(salt)}:{salt}{clip_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def _checked(samples: Wave, what: str) -> NDArray[np.float64]:
    if samples.ndim != 1:
        raise AvsrError(f"{what} is {samples.ndim}-dimensional", todo="Give one channel [S]")
    if not np.isfinite(samples).all():
        raise AvsrError(f"{what} holds samples that are not finite")
    return samples.astype(np.float64)


def _silent(what: str) -> AvsrError:
    return AvsrError(f"the {what} is silent, so there is no SNR", todo=f"Choose other {what}")


def _power(samples: NDArray[np.floating], active: NDArray[np.bool_]) -> float:
    return float(np.mean(np.square(samples[active], dtype=np.float64)))


def _stretch(
    noise: NDArray[np.float64], active: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """As much noise as there is speech, from a place where it is not silent under the speech."""
    overall = float(np.mean(np.square(noise))) if noise.size else 0.0
    if overall < SILENCE:
        raise _silent("noise")
    last = noise.size - active.size if noise.size > active.size else noise.size - 1
    for offset in rng.integers(last + 1, size=TRIES):
        chosen = _round(noise, int(offset), active.size)
        if _power(chosen, active) >= overall * FAINTEST:
            return chosen
    loudest = int(np.argmax(np.abs(noise)) - np.argmax(active)) % noise.size
    return _round(noise, loudest, active.size)


def _round(samples: NDArray[np.float64], offset: int, length: int) -> NDArray[np.float64]:
    """`length` samples from an offset on, from the start again after the end."""
    if offset + length <= samples.size:
        return samples[offset : offset + length]
    return np.resize(np.roll(samples, -offset), length)
