"""Work that moves bytes, beside the event loop: in threads of a server, at once where no loop runs, as in tests."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from virtlab.storage.problems import Cancelled, DataProblem

log = logging.getLogger(__name__)

THREADS = 8


class Job:
    """One piece of work. C(fraction) says how far it is; C(problem) why it failed, once it is C(over)."""

    def __init__(self) -> None:
        self.fraction = 0.0
        self.over = False
        self.problem: DataProblem | None = None
        self._cancelled = threading.Event()

    def report(self, fraction: float) -> None:
        """For the work itself: how far it is. Raises Cancelled when nobody waits for it any more."""
        if self._cancelled.is_set():
            raise Cancelled("cancelled")
        self.fraction = fraction

    def cancel(self) -> None:
        self._cancelled.set()


Work = Callable[[Job], None]


class Jobs:
    """One job a key at most; a job that is over stays until it is dropped."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bytes")

    def find(self, key: str) -> Job | None:
        return self._jobs.get(key)

    def begin(self, key: str, work: Work, told: Callable[[], None]) -> Job:
        """The job of C(key), begun unless it was; C(told) is called in the event loop once it is over."""
        found = self._jobs.get(key)
        if found is not None:
            return found
        job = self._jobs[key] = Job()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            _run(job, work)
            return job

        def done() -> None:
            _run(job, work)
            loop.call_soon_threadsafe(told)

        self._threads.submit(done)
        return job

    def drop(self, key: str) -> None:
        """Forget the job; one that runs is told to stop."""
        job = self._jobs.pop(key, None)
        if job is not None and not job.over:
            job.cancel()


def failed(problem: DataProblem) -> Job:
    """A job that could not even begin."""
    job = Job()
    job.over, job.problem = True, problem
    return job


def _run(job: Job, work: Work) -> None:
    try:
        job.report(0.0)
        work(job)
    except DataProblem as problem:
        job.problem = problem
    except Exception as error:
        log.exception("work on the bytes of a volume failed")
        job.problem = DataProblem(str(error))
    job.over = True
