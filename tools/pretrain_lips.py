"""Pretrain the lip encoder with CTC on the GRID train split, then store it frozen.

    python tools/pretrain_lips.py --manifest ../shared/data/manifest.jsonl --out DIR [--minutes 30]

Three heads read the features and are thrown away: CTC over letters, CTC over whole words, and the
word under each frame by GRID's own alignment, which spares CTC its slow search for one. The best
epoch by validation word error (word head, greedy, speaker s1's validation clips) is kept.
Resumable: the state of the run is written after each epoch and picked up again.
"""

import argparse
import json
import math
import time
from pathlib import Path

import jiwer
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsr.ctc import collapse, ctc_loss
from avsr.manifest import read_manifest
from avsr.train.features import FeatureStore
from avsr.weights import resolve
from frontends.audio_tower import WhisperTower
from frontends.lips import LipTracker
from frontends.video_tower import CROP, LipEncoder, normalise

LETTERS = " abcdefghijklmnopqrstuvwxyz"


def word_times(manifest: Path) -> dict[str, list[tuple[str, float, float]]]:
    """Start and end of each word in seconds, by clip; GRID alone tells them."""
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: row["words"] for row in rows if "words" in row}


def frame_words(
    words: list[tuple[str, float, float]], frames: int, vocabulary: list[str]
) -> np.ndarray:
    """Class [T] of the word said at each frame, 0 for none."""
    labels = np.zeros(frames, dtype=np.int64)
    for word, start, end in words:
        if word in vocabulary:
            labels[round(start * 25) : round(end * 25)] = vocabulary.index(word) + 1
    return labels


def augment(
    crops: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, np.ndarray]:
    """Cut, crop, flip, tempo, cut-out and time mask of a clip: [T, 96, 96] -> [T', 64, 64]."""
    said = np.flatnonzero(labels)  # half of a GRID clip is silence, of which a little is enough
    first, last = np.clip(
        [said[0] - rng.integers(3, 16), said[-1] + rng.integers(3, 16)], 0, len(crops)
    )
    crops, labels = crops[first:last], labels[first:last]
    y, x = rng.integers(-4, 5, size=2) + (96 - CROP) // 2
    crops = crops[:, y : y + CROP, x : x + CROP]
    if rng.random() < 0.5:
        crops = crops[:, :, ::-1]
    if rng.random() < 0.6:
        factor = rng.uniform(0.8, 1.2)
        index = np.arange(round(len(crops) * factor)) / factor
        index = np.clip(index.round().astype(int), 0, len(crops) - 1)
        crops, labels = crops[index], labels[index]
    frames = normalise(torch.from_numpy(np.ascontiguousarray(crops)))
    frames = frames * rng.uniform(0.8, 1.2) + rng.uniform(-0.2, 0.2)
    if rng.random() < 0.5:
        size, top, left = rng.integers(6, 20), *rng.integers(0, CROP - 10, size=2)
        frames[:, top : top + size, left : left + size] = 0
    for _ in range(rng.integers(0, 4)):
        width = int(rng.integers(1, 9))
        start = int(rng.integers(0, max(1, len(frames) - width)))
        frames[start : start + width] = 0
    return frames, labels


class Reader(nn.Module):
    """The encoder with its throw-away heads."""

    def __init__(self, encoder: LipEncoder, words: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.letters = nn.Linear(encoder.width, len(LETTERS) + 1)
        self.words = nn.Linear(encoder.width, words + 1)
        self.aligned = nn.Linear(encoder.width, words + 1)

    def forward(self, rows: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Frames of each clip -> log-probabilities [B, T, classes] of the three heads."""
        x = F.dropout(self.encoder.encode(rows), 0.3, self.training)
        heads = (self.letters, self.words, self.aligned)
        letters, words, aligned = (head(x).float().log_softmax(-1) for head in heads)
        return letters, words, aligned


@torch.no_grad()
def word_error(model: Reader, clips: list, vocabulary: list[str]) -> tuple[float, float]:
    """Word error of the word head and of the letter head, greedy."""
    model.eval()
    by_word, by_letter = [], []
    edge = (96 - CROP) // 2
    for crops, _, _ in clips:
        centre = np.ascontiguousarray(crops[:, edge : edge + CROP, edge : edge + CROP])
        letters, words, _ = model([normalise(torch.from_numpy(centre))])
        by_word.append(" ".join(vocabulary[i - 1] for i in collapse(words[0].argmax(-1).tolist())))
        by_letter.append("".join(LETTERS[i - 1] for i in collapse(letters[0].argmax(-1).tolist())))
    truth = [text for _, text, _ in clips]
    return jiwer.wer(truth, by_word), jiwer.wer(truth, by_letter)


def main() -> None:
    """Run the pretraining."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--manifest", type=Path, default=Path("../shared/data/manifest.jsonl"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/default/features"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=math.inf, help="planned length of the run")
    parser.add_argument("--batch", type=int, default=12, help="clips")
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    store = FeatureStore(
        args.cache,
        WhisperTower.from_folder(resolve("whisper-tiny.en")),
        tracker=LipTracker(weights=Path(resolve("face-models"))),
    )
    times = word_times(args.manifest)
    clips = read_manifest(args.manifest, lambda item: item.has_video)
    vocabulary = sorted({w for c in clips if c.split == "train" for w in c.text.split()})
    train, held = [], []
    for clip in clips:
        if clip.split == "test":
            continue
        mouth = store.crops(clip)
        row = (mouth, clip.text, frame_words(times[clip.id], len(mouth), vocabulary))
        (train if clip.split == "train" else held).append(row)
    model = Reader(LipEncoder(), len(vocabulary))
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.02)
    args.out.mkdir(parents=True, exist_ok=True)
    state_file, log = args.out / "state.pt", args.out / "log.jsonl"
    epoch, best, spent = 0, math.inf, 0.0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        epoch, best, spent = state["epoch"], state["best"], state["spent"]
    while epoch < args.epochs and spent < args.minutes:
        began = time.time()
        rng = np.random.default_rng([args.seed, epoch])
        torch.manual_seed(args.seed * 1000 + epoch)
        order = rng.permutation(len(train))
        model.train()
        losses = []
        for first in range(0, len(order), args.batch):
            done = max((epoch + first / len(order)) / args.epochs, spent / args.minutes)
            scale = min(1.0, epoch + first / len(order) + 0.05)
            for group in optimiser.param_groups:
                group["lr"] = args.lr * scale * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
            batch = [train[i] for i in order[first : first + args.batch]]
            rows, marks = zip(*(augment(c, labels, rng) for c, _, labels in batch), strict=True)
            lengths = torch.tensor([len(r) for r in rows])
            letters, words, aligned = model(list(rows))
            spelt = [[LETTERS.index(a) + 1 for a in text] for _, text, _ in batch]
            said = [[vocabulary.index(w) + 1 for w in text.split()] for _, text, _ in batch]
            loss = ctc_loss(letters, lengths, spelt) + ctc_loss(words, lengths, said)
            real = torch.arange(aligned.shape[1]) < lengths[:, None]
            under = torch.from_numpy(np.concatenate(marks))
            loss = loss + 2 * F.nll_loss(aligned[real], under)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            losses.append(loss.item())
        epoch += 1
        spent += (time.time() - began) / 60
        by_word, by_letter = word_error(model, held, vocabulary)
        row = {"epoch": epoch, "loss": np.mean(losses), "wer": by_word, "wer_letters": by_letter}
        line = json.dumps(
            {**row, "minutes": round(spent, 2), "lr": optimiser.param_groups[0]["lr"]}
        )
        print(line, flush=True)
        with open(log, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        if by_word <= best:
            best = by_word
            model.encoder.save(args.out)
        state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
        torch.save({**state, "epoch": epoch, "best": best, "spent": spent}, state_file)


if __name__ == "__main__":
    main()
