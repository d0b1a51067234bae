"""The line: order, positions, who is dropped, and that two at once both finish."""

import asyncio
import threading

import pytest

from avsr.errors import ModelError
from avsr.serve.jobs import Busy, Line
from tests.avsr.serve.pages import last, lines, until


async def told(job):
    return [event async for event in job.events()]


def test_jobs_are_done_one_after_another_and_told_their_place():
    done, gate = [], threading.Event()

    def work(name):
        def run(job):
            assert gate.wait(120)
            done.append(name)
            return name

        return run

    async def go():
        line = Line(4)
        jobs = [line.submit(work(name)) for name in "abc"]
        assert len(line) == 3
        gate.set()
        found = await asyncio.gather(*map(told, jobs))
        await line.close()
        return found

    first, second, third = asyncio.run(go())
    assert done == ["a", "b", "c"]
    assert [e["event"] for e in first] == ["working", "done"]
    assert [e.get("position") for e in second] == [1, None, None]
    assert [e.get("position") for e in third] == [2, 1, None, None]
    assert third[-1] == {"event": "done", "result": "c"}


def test_an_error_is_told_and_the_next_is_done():
    async def go():
        line = Line(4)

        def refuse(job):
            raise ModelError("no", where="here", todo="Do.")

        jobs = [line.submit(refuse), line.submit(lambda job: 1)]
        found = await asyncio.gather(*map(told, jobs))
        await line.close()
        return found

    first, second = asyncio.run(go())
    assert first[-1] == {"event": "error", "error": {"what": "no", "where": "here", "todo": "Do."}}
    assert second[-1]["result"] == 1


@pytest.mark.parametrize("outcome", ["done", "error"])
def test_the_end_is_told_when_the_cleaning_is_done(outcome):
    async def go():
        line, order, begun = Line(4), [], threading.Event()

        def work(job):
            job.report = lambda kind, **facts: order.append(kind)
            begun.set()
            if outcome == "error":
                raise ModelError("no")

        line.submit(work, lambda: order.append("cleaned"))
        assert await asyncio.to_thread(begun.wait, 120)
        await line.close()
        return order

    assert asyncio.run(go()) == ["cleaned", outcome]


def test_a_full_line_and_a_closed_one_take_no_more():
    async def go():
        line, gate, cleaned = Line(1), threading.Event(), []
        line.submit(lambda job: gate.wait(120), lambda: cleaned.append("runs"))
        line.submit(lambda job: 1, lambda: cleaned.append("waits"))
        with pytest.raises(Busy, match="1 jobs are waiting"):
            line.submit(lambda job: 1)
        gate.set()
        await line.close()
        with pytest.raises(Busy, match="closing"):
            line.submit(lambda job: 1)
        return cleaned

    assert sorted(asyncio.run(go())) == ["runs", "waits"]


def test_a_dropped_job_is_never_begun_and_those_behind_move_up():
    async def go():
        line, gate, ran, cleaned = Line(4), threading.Event(), [], []
        line.submit(lambda job: gate.wait(120))
        dropped = line.submit(lambda job: ran.append(1), lambda: cleaned.append(1))
        behind = line.submit(lambda job: 1)
        line.drop(dropped)
        assert cleaned == [1]
        gate.set()
        events = await told(behind)
        line.drop(dropped)  # once more does no harm
        await line.close()
        return ran, cleaned, [e.get("position") for e in events]

    assert asyncio.run(go()) == ([], [1], [2, 1, None, None])


def test_work_that_is_dropped_ends_at_its_next_step():
    async def go():
        line, steps, cleaned = Line(4), [], []
        begun, gate = threading.Event(), threading.Event()

        def work(job):
            begun.set()
            steps.append(1)
            assert gate.wait(120)
            job.check()
            steps.append(2)

        job = line.submit(work, lambda: cleaned.append(1))
        assert await asyncio.to_thread(begun.wait, 120)
        line.drop(job)
        gate.set()
        await line.close()
        return steps, cleaned

    assert asyncio.run(go()) == ([1], [1])


def upload(port, data, found):
    import httpx2

    files = {"clip": ("x.wav", data)}
    answer = httpx2.post(f"http://127.0.0.1:{port}/api/clips?roi=given", files=files, timeout=300)
    found.append(lines(answer))


def test_two_uploads_at_once_both_finish(served, recogniser, clips):
    with served() as (page, port):
        recogniser.audio_tower.gate.clear()  # the first is held until the second has come
        found = []
        threads = [
            threading.Thread(target=upload, args=(port, clips[which], found))
            for which in ("both", "sound")
        ]
        for thread in threads:
            thread.start()
        until(lambda: len(page.line) == 2)
        recogniser.audio_tower.gate.set()
        for thread in threads:
            thread.join(300)
        assert {last(events)["modality"] for events in found} == {"av", "a"}
        places = [[e.get("position") for e in events] for events in found]
        assert [1, None, None] in places
        assert list(page.folder.iterdir()) == []
        assert len(page.shelf) == 2


def test_a_closed_tab_takes_its_job_out_of_the_line(served, recogniser, clips):
    import httpx2

    with served() as (page, port):
        recogniser.audio_tower.gate.clear()
        first = []
        thread = threading.Thread(target=upload, args=(port, clips["both"], first))
        thread.start()
        until(lambda: recogniser.audio_tower.runs == 1)
        url = f"http://127.0.0.1:{port}/api/clips"
        with httpx2.Client(timeout=300) as tab:
            with tab.stream("POST", url, files={"clip": ("x.wav", clips["sound"])}) as answer:
                assert answer.status_code == 200
                until(lambda: len(page.line) == 2)
                assert len(list(page.folder.iterdir())) == 2
        until(lambda: len(page.line) == 1)  # the tab is closed
        assert len(list(page.folder.iterdir())) == 1
        recogniser.audio_tower.gate.set()
        thread.join(300)
        assert last(first[0])["modality"] == "av"
        assert recogniser.audio_tower.runs == 1
        assert len(page.shelf) == 1


def test_a_tab_that_closes_while_its_clip_is_read_leaves_none_behind(served, recogniser, clips):
    import httpx2

    with served() as (page, port):
        recogniser.audio_tower.gate.clear()
        url = f"http://127.0.0.1:{port}/api/clips?roi=given"
        with httpx2.Client(timeout=300) as tab:
            with tab.stream("POST", url, files={"clip": ("x.mkv", clips["both"])}):
                until(lambda: recogniser.audio_tower.runs == 1)
                (job,) = [page.line._running]
        until(lambda: not job.wanted)
        recogniser.audio_tower.gate.set()
        until(lambda: len(page.line) == 0)
        assert len(page.shelf) == 0
        assert list(page.folder.iterdir()) == []


def test_more_than_may_wait_are_sent_away_unread(served, recogniser, clips):
    import httpx2

    with served(waiting=1) as (page, port):
        recogniser.audio_tower.gate.clear()
        found = []
        threads = [
            threading.Thread(target=upload, args=(port, clips["sound"], found)) for _ in range(2)
        ]
        for number, thread in enumerate(threads, start=1):
            thread.start()
            until(lambda number=number: len(page.line) == number)
        url = f"http://127.0.0.1:{port}/api/clips"
        answer = httpx2.post(url, files={"clip": ("x.wav", clips["sound"])}, timeout=300)
        assert answer.status_code == 503
        assert "waiting already" in answer.json()["error"]["what"]
        recogniser.audio_tower.gate.set()
        for thread in threads:
            thread.join(300)
        assert [events[-1]["event"] for events in found] == ["done", "done"]


def test_a_server_that_ends_removes_what_waits(served, recogniser, clips):
    with served() as (page, port):
        recogniser.audio_tower.gate.clear()
        found = []
        threads = [
            threading.Thread(target=_quietly, args=(port, clips["sound"], found)) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        until(lambda: len(page.line) == 2)
        folder = page.folder
        assert len(list(folder.iterdir())) == 2
    for thread in threads:
        thread.join(120)
    assert not folder.exists()


def _quietly(port, data, found):
    import httpx2

    try:
        upload(port, data, found)
    except httpx2.HTTPError:  # the server has gone
        pass
