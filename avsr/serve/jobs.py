"""The line before the one worker: work of many tabs, done one after another.

callable -> Job -> events for whoever follows it: waiting with its position, working, whatever the
work reports, and last its result or its error. A job that nobody follows any more is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from avsr.errors import AvsrError
from avsr.serve.views import failure

__all__ = ["Busy", "Dropped", "Event", "Job", "Line"]

Event = Mapping[str, Any]
LAST = ("done", "error")

_log = logging.getLogger("avsr.serve")


class Busy(AvsrError):
    """Too many jobs wait already."""


class Dropped(Exception):
    """Raised inside a job's work when nobody wants its result any more."""


class Job:
    """One piece of work and what is told about it.

    Args:
        work: runs in the worker's thread; gets the job, returns the result as plain data.
        loop: where it is followed.
        cleanup: run once, whatever becomes of the job, after its work or instead of it.
    """

    def __init__(
        self,
        work: Callable[[Job], Any],
        loop: asyncio.AbstractEventLoop,
        cleanup: Callable[[], None],
    ) -> None:
        self.wanted = True
        self._work, self._loop, self._cleanup = work, loop, cleanup
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def report(self, kind: str, **facts: Any) -> None:
        """Tell the followers something; from any thread."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, {"event": kind, **facts})

    def check(self) -> None:
        """Between two steps of the work.

        Raises:
            Dropped: the result is not wanted any more.
        """
        if not self.wanted:
            raise Dropped

    def run(self) -> None:
        """Do the work, in the worker's thread; its end is told when nothing of it is left."""
        end: tuple[str, dict[str, Any]] | None = None
        try:
            self.check()
            end = "done", {"result": self._work(self)}
        except Dropped:
            pass
        except Exception as error:
            if not isinstance(error, AvsrError):
                _log.exception("a job failed")
            end = "error", failure(error)
        finally:
            self._cleanup()
        if end is not None:
            self.report(end[0], **end[1])

    def leave(self) -> None:
        """Take back a job that was not begun."""
        self.wanted = False
        self._cleanup()

    async def events(self) -> AsyncIterator[Event]:
        """Follow the job to its end."""
        while True:
            event = await self._events.get()
            yield event
            if event["event"] in LAST:
                return


class Line:
    """Jobs in the order they came. All methods are called from the event loop.

    Args:
        waiting: most jobs that wait.
    """

    def __init__(self, waiting: int) -> None:
        self._limit = waiting
        self._line: deque[Job] = deque()
        self._running: Job | None = None
        self._closed = False
        # One thread for good: what the experts' hooks know of a pass, they know by thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="avsr-serve")

    def __len__(self) -> int:
        """Jobs that wait or run."""
        return len(self._line) + (self._running is not None)

    def check(self) -> None:
        """Ask for a place.

        Raises:
            Busy: there is none.
        """
        if self._closed:
            raise Busy("the server is closing")
        if len(self._line) >= self._limit:
            raise Busy(f"{self._limit} jobs are waiting already", todo="Try again in a minute.")

    def submit(self, work: Callable[[Job], Any], cleanup: Callable[[], None] = lambda: None) -> Job:
        """Put work at the end of the line.

        Args:
            work: see `Job`.
            cleanup: see `Job`; not run where the line takes no more.

        Raises:
            Busy: the line is full.
        """
        self.check()
        job = Job(work, asyncio.get_running_loop(), cleanup)
        self._line.append(job)
        self._next()
        if job is not self._running:
            job.report("waiting", position=len(self._line))
        return job

    def drop(self, job: Job) -> None:
        """Nobody follows a job any more: leave it out, or let its work end at the next step."""
        if job in self._line:
            self._line.remove(job)
            job.leave()
            self._tell()
        job.wanted = False

    async def close(self) -> None:
        """Drop everything and wait for the work that runs."""
        self._closed = True
        for job in (*self._line, *([] if self._running is None else [self._running])):
            self.drop(job)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    def _next(self) -> None:
        if self._running is not None or not self._line:
            return
        job = self._running = self._line.popleft()
        job.report("working")
        self._tell()
        done = asyncio.get_running_loop().run_in_executor(self._thread, job.run)
        done.add_done_callback(lambda _: self._ended())

    def _ended(self) -> None:
        self._running = None
        if not self._closed:
            self._next()

    def _tell(self) -> None:
        for position, job in enumerate(self._line, start=1):
            job.report("waiting", position=position)
