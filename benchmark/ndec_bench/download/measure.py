"""True sizes of files, asked of their sources where estimates would refuse a download."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from ndec_bench.download.range_reader import RangeReader
from ndec_bench.download.session import new_session
from ndec_bench.download.sources import candidates
from ndec_bench.errors import NetworkError

if TYPE_CHECKING:
    import threading

    from ndec_bench.data.registry import RemoteFile
    from ndec_bench.download.links import Links
    from ndec_bench.download.plan import Plan, Planned
    from ndec_bench.download.policy import Policy

_AT_ONCE = 8
_TRIES = 2


def measured(plan: Plan, *, links: Links | None, policy: Policy, stop: threading.Event) -> Plan:
    """Return ``plan`` with the true size of each file still to be fetched whose size was an estimate.

    One byte of each is asked for. A file whose sources do not answer, or cannot tell, keeps its estimate.

    Raises
    ------
    InterruptedRun
        If ``stop`` is set.
    """
    patience = replace(policy, attempts=min(policy.attempts, _TRIES))

    def one(planned: Planned) -> Planned:
        if planned.file.bytes_exact or planned not in plan.missing:
            return planned
        size = _size(planned.file, links, patience, stop)
        exact = {} if size is None else {"bytes": size, "bytes_exact": True}
        return replace(planned, file=planned.file.model_copy(update=exact))

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="measure") as pool:
        return replace(plan, files=tuple(pool.map(one, plan.files)))


def _size(file: RemoteFile, links: Links | None, policy: Policy, stop: threading.Event) -> int | None:
    with new_session() as session:
        for candidate in candidates(file, session=session, policy=policy, links=links):
            if candidate.resolve is None:
                continue
            try:
                size = RangeReader(candidate.resolve, session=session, policy=policy, stop=stop, name=file.name).size
            except NetworkError:
                continue
            if size:
                return size
    return None
