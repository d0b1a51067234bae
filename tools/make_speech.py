"""Make a corpus of read speech: sentences of a text file, said by Kokoro-82M voices.

    python tools/make_speech.py --text ljspeech.txt --out DIR --hours 3 [--seed 0] [--voices all]

Sentence, voice and speed (0.85 to 1.2) of clip number k follow from the seed and k alone, so a run
that was stopped goes on where it was and two runs make the same corpus. Written: 16 kHz mono Opus
and DIR/manifest.jsonl, a line a clip, in the form of the other corpora's manifests. The voice gets
the sentence as printed, the manifest gets lower-case words without punctuation.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
from voice import RATE, Kokoro, write_opus

SPOKEN = {"Mr.": "mister", "Mrs.": "missus", "Dr.": "doctor"}
PLAIN = re.compile(r"[A-Za-z ,.;:!?'\"-]+")
SHORT_FORMS = {"etc", "jr", "st", "no", "co", "vs", "capt"}  # nobody reads these as they are spelt


def words_of(sentence: str) -> list[str] | None:
    """The words a voice will say, or None where that cannot be told from the print."""
    for short, spoken in SPOKEN.items():
        sentence = sentence.replace(short, spoken)
    sentence = sentence.strip()
    if not PLAIN.fullmatch(sentence) or "." in sentence[:-1]:
        return None
    if re.search(r"\b[A-Z]{2,}|\b[B-HJ-Z]\b", sentence):  # initials, Roman numbers
        return None
    words = re.sub(r"[^a-z']+", " ", sentence.lower()).split()
    words = [w.strip("'") for w in words]
    if "" in words or set(words) & SHORT_FORMS or not 4 <= len(words) <= 25:
        return None
    return words


def main() -> None:
    """Parse arguments, find where the last run stopped, speak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="one sentence a line")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--voices", default="all", help="comma-separated names, or all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kokoro", type=Path, default=Path.home() / ".cache" / "kokoro")
    args = parser.parse_args()

    lines = args.text.read_text(encoding="utf-8").splitlines()
    sentences = [(line, words) for line in lines if (words := words_of(line))]
    order = np.random.default_rng(args.seed).permutation(len(sentences))
    kokoro = Kokoro(args.kokoro, threads=args.threads)
    voices = kokoro.voices if args.voices == "all" else tuple(args.voices.split(","))
    print(f"{len(sentences)} of {len(lines)} lines can be read, {len(voices)} voices", flush=True)

    manifest = args.out / "manifest.jsonl"
    args.out.mkdir(parents=True, exist_ok=True)
    kept = [x for x in _read(manifest).splitlines(keepends=True) if x.endswith("\n")]
    manifest.write_text("".join(kept), encoding="utf-8")  # a torn last line goes
    clips = [json.loads(line) for line in kept]
    done = {clip["id"] for clip in clips}
    seconds = sum(clip["duration"] for clip in clips)

    number = 0
    while seconds < args.hours * 3600:
        rng = np.random.default_rng([args.seed, number])
        voice = voices[rng.integers(len(voices))]
        speed, margin = rng.uniform(0.85, 1.2), rng.uniform(0.1, 0.2)
        sentence, words = sentences[order[number % len(order)]]
        name = f"kokoro/{voice}/s{args.seed}-{number:06d}"
        number += 1
        if name in done:
            continue
        wave = kokoro.say(sentence, voice=voice, speed=speed).trimmed(margin).wave
        duration = round(len(wave) / RATE, 3)
        if not 6 < sum(map(len, words)) / duration < 25:  # letters a second: the voice stumbled
            print(f"left out {name}: {duration} s for {sentence!r}", flush=True)
            continue
        write_opus(args.out / f"{name}.opus", wave)
        clip = {
            "id": name,
            "corpus": "kokoro",
            "split": "train",
            "speaker": f"kokoro-{voice}",
            "audio_filepath": f"{name}.opus",
            "duration": duration,
            "text": " ".join(words),
            "license": "public domain text, voices Apache-2.0",
        }
        with manifest.open("a", encoding="utf-8") as out:
            out.write(json.dumps(clip) + "\n")
        seconds += duration


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    main()
