"""CDI's importer for registries and OCI archives."""

from __future__ import annotations

from virtlab.datapath.fetch import Access
from virtlab.datapath.http_import import FETCHED, UNPROCESSED
from virtlab.datapath.images import source_of, take_disk
from virtlab.datapath.jobs import Job
from virtlab.storage.problems import DataProblem
from virtlab.storage.receive import PULL_FAILED, Receiver, Target

READING = "Unable to transfer source data to scratch space: Failed to read registry image"


def import_image(url: str, access: Access, target: Target, tag: str, job: Job) -> None:
    """Fill C(target) with the disk in an image. Raises DataProblem with what the importer's pod would say."""
    receiver = Receiver(target, always_scratch=True, tag=tag)
    try:
        try:
            take_disk(source_of(url, access), receiver, lambda fraction: job.report(FETCHED * fraction))
        except DataProblem as problem:
            if problem.staged:
                raise
            text = str(problem)
            known = text.startswith(("Failed to find", "Could not parse", PULL_FAILED, "virtual image size"))
            raise DataProblem(f"{READING}: {text if known else f'{PULL_FAILED}: {text}'}") from None
        receiver.finish(lambda fraction: job.report(FETCHED + (1 - FETCHED) * fraction))
    except DataProblem as problem:
        receiver.abandon()
        raise problem.within(UNPROCESSED) from None
    except BaseException:
        receiver.abandon()
        raise
