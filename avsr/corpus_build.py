"""A whole corpus into one manifest: in parallel, taken up again after a kill, with a report.

Entries -> manifest.jsonl, manifest-<split>.txt (ids), manifest.report.json (counts, hours, faults).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from avsr.corpus import Entry
from avsr.corpus_clip import Done, Plan, key_of, prepare_clip
from avsr.errors import AvsrError
from avsr.writers import write_atomic

__all__ = ["Report", "build"]


@dataclass(frozen=True)
class Report:
    """What came of a corpus.

    Args:
        entries: clips that the corpus lists.
        clips: lines of the manifest.
        splits: of each split its clips, hours and speakers.
        failed: id and reason of every entry that is not in the manifest.
        warned: clips with a warning.
    """

    entries: int
    clips: int
    splits: dict[str, dict[str, Any]]
    failed: dict[str, str]
    warned: int

    def __str__(self) -> str:
        """A few lines for people."""
        lines = [
            f"{name}: {one['clips']} clips, {one['hours']:.2f} h, {one['speakers']} speakers"
            for name, one in self.splits.items()
        ]
        if self.warned:
            lines.append(f"{self.warned} clips with a warning, see the manifest")
        lines.append(f"{len(self.failed)} of {self.entries} entries failed")
        lines += [f"  {name}: {why}" for name, why in list(self.failed.items())[:20]]
        return "\n".join([*lines, *(["  ..."] if len(self.failed) > 20 else [])])


def build(
    entries: Iterable[Entry],
    plan: Plan,
    out: Path,
    *,
    workers: int = 1,
    progress: Callable[[int], None] = lambda clips: None,
) -> Report:
    """Prepare every entry and write the manifest.

    What is done is noted at once in a journal beside the manifest: a run that is killed goes on
    where it was. What failed is tried again.

    Args:
        entries: the corpus.
        plan: what is done with each.
        out: the manifest, `.jsonl`.
        workers: processes.
        progress: called with the number of entries finished.

    Raises:
        AvsrError: no entries, or two of one id.
    """
    wanted = list(entries)
    _check(wanted)
    out.parent.mkdir(parents=True, exist_ok=True)
    journal = out.with_name(f"{out.name}.journal")
    known = _read(journal)
    keys = [key_of(entry, plan) for entry in wanted]
    left = [entry for entry, key in zip(wanted, keys, strict=True) if key not in known]
    progress(len(wanted) - len(left))
    with journal.open("a", encoding="utf-8") as notes:
        for done in _work(left, plan, workers):
            known[done.key] = done
            notes.write(json.dumps(asdict(done)) + "\n")
            notes.flush()
            progress(1)
    return _write(out, [known[key] for key in keys])


def _check(entries: Sequence[Entry]) -> None:
    if not entries:
        raise AvsrError("the corpus has no clips", todo="Check the folder")
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise AvsrError(f"two clips have the id {entry.id!r}")
        seen.add(entry.id)


def _work(entries: Sequence[Entry], plan: Plan, workers: int) -> Iterator[Done]:
    if workers <= 1:
        yield from (prepare_clip(entry, plan) for entry in entries)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(prepare_clip, entry, plan) for entry in entries]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BrokenProcessPool as error:
            raise AvsrError(
                f"one of {workers} processes that prepare clips was killed",
                todo="Most likely memory ran out: take fewer --workers. What is done is kept.",
            ) from error


def _read(journal: Path) -> dict[str, Done]:
    """What an earlier run finished without a fault and whose files are still there."""
    known = {}
    try:
        lines = journal.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            told = json.loads(line)
            done = Done(told["key"], told["id"], tuple(told["rows"]), told["error"])
        except (ValueError, KeyError, TypeError):
            continue  # a run was killed while it wrote this line
        if done.error is None and all(Path(r["audio_filepath"]).is_file() for r in done.rows):
            known[done.key] = done
    return known


def _write(out: Path, all_done: Sequence[Done]) -> Report:
    rows = [row for done in all_done for row in done.rows]
    write_atomic(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    splits = {}
    for name in dict.fromkeys(row["split"] for row in rows):
        own = [row for row in rows if row["split"] == name]
        hours = sum(row["duration"] for row in own) / 3600
        speakers = len({row["speaker"] for row in own})
        splits[name] = {"clips": len(own), "hours": round(hours, 4), "speakers": speakers}
        ids = "".join(f"{row['id']}\n" for row in own)
        write_atomic(out.with_name(f"{out.stem}-{name}.txt"), ids)
    failed = {done.id: done.error for done in all_done if done.error is not None}
    warned = sum("warnings" in row for row in rows)
    report = Report(len(all_done), len(rows), splits, failed, warned)
    text = json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n"
    write_atomic(out.with_name(f"{out.stem}.report.json"), text)
    return report
