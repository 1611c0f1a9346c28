"""Single ranges of a remote file, read into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.download.answer import Answer, Failure, Transient
from ndec_bench.download.exchange import DEFAULT_POLICY, Exchange, Policy, Resolve
from ndec_bench.download.part import Facts

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    import requests

_NO_RANGES = "use another source, or download the whole file"


class RangeReader:
    """A remote file of which any range of bytes can be read; for use by one thread at a time.

    Every request is made on the condition that the file is still the one that was opened.

    Parameters
    ----------
    name
        Name of the file for messages.
    resolve
        Gives the location, as for `ranges.fetch`; asked again when an address no longer serves.
    stop
        When set, reading ends with InterruptedRun.

    Raises
    ------
    NetworkError
        If the source does not answer, refuses, has no ranges, or serves a web page or a file of another size than
        stated.
    InterruptedRun
        If ``stop`` is set.
    """

    def __init__(
        self,
        name: str,
        resolve: Resolve,
        *,
        session: requests.Session,
        policy: Policy = DEFAULT_POLICY,
        stop: threading.Event | None = None,
    ) -> None:
        self.name = name
        self._exchange = Exchange(name, resolve, session=session, policy=policy, stop=stop)
        self._facts = self._exchange.attempt(self._probe)

    @property
    def size(self) -> int:
        """Return the size of the file in bytes."""
        return self._facts.size or 0

    @property
    def etag(self) -> str | None:
        """Return the entity tag of the file, if its source gives one."""
        return self._facts.etag

    def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset`` on, fewer only at the end of the file.

        Raises
        ------
        ValueError
            If ``offset`` or ``length`` is negative.
        NetworkError
            If the source fails, or the file is no longer the one that was opened.
        InterruptedRun
            If the run is stopped.
        """
        return b"".join(self.stream(offset, length))

    def stream(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the same bytes as `read_at` in pieces as they arrive, over as many connections as it takes.

        With ``length`` None the range goes to the end of the file. A reader that has enough stops iterating. Raises as
        `read_at` does, before the first piece.
        """
        if offset < 0 or (length is not None and length < 0):
            raise ValueError(f"range at {offset} of {length} bytes")
        end = self.size if length is None else min(self.size, offset + length)
        return self._stream(offset, end)

    def _stream(self, at: int, end: int) -> Iterator[bytes]:
        while at < end:
            try:
                with self._exchange.get(self._headers(at, end)) as answer:
                    stop = self._checked(answer, at, end)
                    for piece in answer.pieces():
                        if at + len(piece) > stop:
                            raise answer.fail(f"sends more than the {stop - at:,} bytes asked for")
                        at += len(piece)
                        self._exchange.progressed()
                        yield piece
                if at < stop:
                    raise Transient(f"{answer.host} broke off {stop - at:,} bytes early")
            except Failure as failure:
                self._exchange.recover(failure)

    def _headers(self, at: int, end: int) -> dict[str, str]:
        headers = {"Range": f"bytes={at}-{end - 1}"}
        if self._facts.validator:
            headers["If-Range"] = self._facts.validator
        return headers

    def _checked(self, answer: Answer, at: int, end: int) -> int:
        """Return where the bytes of ``answer`` end. Raises NetworkError if they are not those asked for."""
        answer.check()
        if answer.status != 206:
            raise answer.fail("no longer serves the file that was opened, or no ranges of it", "run again")
        span = answer.content_range
        if span is None or span.first != at or span.last is None or not at <= span.last < end:
            raise answer.fail(f"sent other bytes than {at:,} to {end - 1:,}, which were asked for", _NO_RANGES)
        difference = self._facts.difference(Facts(span.total, answer.etag, answer.last_modified))
        if difference:
            raise answer.fail(f"changed the file while it was read: {difference}", "run again")
        return span.last + 1

    def _probe(self) -> Facts:
        with self._exchange.get({"Range": "bytes=0-0"}) as answer:
            if answer.status != 416:  # what an empty file answers
                answer.check()
            span = answer.content_range
            total = span.total if span else None
            if answer.status == 200 or total is None:
                raise answer.fail("does not serve ranges of bytes, which are needed here", _NO_RANGES)
            expected = self._exchange.location.bytes
            if expected is not None and total != expected:
                raise answer.fail(f"has a file of {total:,} bytes, expected {expected:,}")
            return Facts(total, answer.etag, answer.last_modified)
