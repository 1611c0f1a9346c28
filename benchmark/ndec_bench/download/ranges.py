"""The Range downloader: fetches every big file, and goes on where an earlier run was cut off.

A file of 42 GB takes hours, and the connection, the address or the process may end at any moment. So the bytes are
written as they arrive, and each new request asks for the rest, on the condition that the file is still the same one
(RFC 9110, sections 13.1.5 If-Range and 14 Range requests). Whenever that is not certain, it starts again from zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from ndec_bench.download.answer import OTHER, Answer, Transient, looks_like_html
from ndec_bench.download.exchange import DEFAULT_POLICY, Exchange, Policy, Resolve
from ndec_bench.download.part import Facts, PartFile
from ndec_bench.errors import InterruptedRun

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import requests

    from ndec_bench.errors import NetworkError

SNIFFED = 512
"""Bytes held back until they show that this is not a web page."""
_MOST_RESTARTS = 1
"""A file that must be begun a third time is given up: it may have 40 GB."""


@dataclass(frozen=True)
class Fetched:
    """A file fetched whole: its size, its SHA-256 (hex), and the entity tag it was served under, if any.

    ``notes`` says for people what went other than planned ("started again from zero after 5 bytes: its ETag changed").
    """

    bytes: int
    sha256: str
    etag: str | None = None
    notes: tuple[str, ...] = ()


class Advance(Protocol):
    """Called as bytes arrive; from the thread that fetches."""

    def __call__(self, done: int, total: int | None, /) -> None:
        """Take note that ``done`` bytes of ``total`` (None if not known) are on disk."""


def fetch(
    resolve: Resolve,
    part: Path,
    *,
    session: requests.Session,
    policy: Policy = DEFAULT_POLICY,
    advance: Advance | None = None,
    stop: threading.Event | None = None,
) -> Fetched:
    """Return size, SHA-256 and entity tag of the file that now lies whole in ``part``, flushed to disk.

    What an earlier run left in ``part`` is hashed and kept if the source vouches that it is of the same file. Facts
    about the file stay in ``part`` + ``.json`` (`part.sidecar`) until the caller has moved ``part`` to its final name.

    Parameters
    ----------
    resolve
        Gives the location: before the first byte, and once more each time an address answers 401, 403, 404 or 410. Size
        and SHA-256 that it states must be those of the file.
    part
        Where the bytes go: final name + ``.part``. Its folder is made.
    session
        For its adapters, proxies, certificates and default headers; its cookies and redirects are not used.
    advance
        Called as bytes are hashed (of an earlier run) and as new ones are written.
    stop
        When set, the download ends soon with InterruptedRun.

    Raises
    ------
    NetworkError
        If the source does not answer, refuses, or serves something else; ``part`` is kept, unless it was complete and
        wrong.
    DataError
        If the disk is full or fails; ``part`` is kept.
    InterruptedRun
        On ``stop`` or KeyboardInterrupt; ``part`` is kept.
    """
    with PartFile(part) as file:
        try:
            return _Download(resolve, file, session, policy, advance, stop).run()
        except (KeyboardInterrupt, InterruptedRun):
            raise InterruptedRun(
                f"{file.name}: stopped after {file.size_on_disk():,} bytes, which are kept", hint="run again to go on"
            ) from None


class _Download:
    """One call of `fetch`."""

    def __init__(
        self,
        resolve: Resolve,
        file: PartFile,
        session: requests.Session,
        policy: Policy,
        advance: Advance | None,
        stop: threading.Event | None,
    ) -> None:
        self._file = file
        self._policy = policy
        self._advance = advance
        self._notes: list[str] = []
        self._most = 0
        self._exchange = Exchange(file.name, resolve, session=session, policy=policy, stop=stop)

    def run(self) -> Fetched:
        self._load()
        while not (self._is_known_whole() or self._exchange.attempt(self._request)):
            pass
        self._check_whole()
        self._file.flush()
        etag = self._file.facts.etag if self._file.facts else None
        return Fetched(self._file.size, self._file.sha256, etag, tuple(self._notes))

    @property
    def _total(self) -> int | None:
        """Return the size of the file, as far as anybody has stated it."""
        known = self._file.facts.size if self._file.facts else None
        return self._exchange.location.bytes if known is None else known

    @property
    def _sha256(self) -> str | None:
        digest = self._exchange.location.sha256
        return None if digest is None else digest.lower()

    def _stated(self, answer: Answer, size: int | None) -> Facts:
        return Facts(size, answer.etag, answer.last_modified, self._sha256)

    def _load(self) -> None:
        for hashed in self._file.load():
            self._exchange.check_stop()
            self._report(hashed)
        self._most = self._file.size
        stated = Facts(self._exchange.location.bytes, sha256=self._sha256)
        difference = self._file.facts.difference(stated) if self._file.facts else None
        if difference:
            self._start_over(difference)

    def _is_known_whole(self) -> bool:
        return self._exchange.location.bytes == self._file.size and self._sha256 == self._file.sha256

    def _request(self) -> bool:
        """Return whether the file is whole after one more request."""
        with self._exchange.get(self._headers()) as answer:
            if answer.status == 416:
                return self._past_the_end(answer)
            answer.check()
            return self._part_of_file(answer) if answer.status == 206 else self._whole_file(answer)

    def _headers(self) -> dict[str, str]:
        """Return the headers that ask for what is missing, on the condition that it is of the same file."""
        facts = self._file.facts
        if facts is None or not self._file.size:
            return {}
        asked = {"Range": f"bytes={self._file.size}-"}
        if facts.sha256 is not None and facts.sha256 == self._sha256:
            return asked  # the digest says that it is the same file, whichever server has it now
        if facts.validator is None:
            self._start_over("the source gives no ETag and no date by which to recognise the file")
            return {}
        return {**asked, "If-Range": facts.validator}

    def _past_the_end(self, answer: Answer) -> bool:
        if not self._file.size:
            raise answer.fail("answered 416 to a request without a range, expected the file")
        found = answer.content_range
        facts = self._stated(answer, found.total if found else None)
        total = facts.size if facts.size is not None else self._total
        if total == self._file.size and self._file.facts and not self._file.facts.difference(facts):
            return True
        return self._start_over("the source has no bytes after those that were there")

    def _part_of_file(self, answer: Answer) -> bool:
        """Append the body of a 206, or start over if it is not what was asked for."""
        if not self._file.size:
            raise answer.fail("answered 206 to a request without a range, expected the whole file")
        asked, span = self._file.size, answer.content_range
        if span is None or span.first is None or span.last is None or span.total is None:
            return self._start_over("the source does not say which bytes it sent")
        if span.first != asked or not asked <= span.last < span.total:
            return self._start_over(
                f"the source sent bytes {span.first:,} to {span.last:,}, asked for {asked:,} and on"
            )
        trouble = self._file.facts.difference(self._stated(answer, span.total)) if self._file.facts else None
        if trouble:
            return self._start_over(trouble)
        return self._receive(answer, answer.pieces(), length=span.last + 1 - asked, total=span.total)

    def _whole_file(self, answer: Answer) -> bool:
        """Take the body of a 200: from zero, or the rest of it where the source merely ignores ranges."""
        length = answer.length
        facts = self._stated(answer, length)
        expected = self._exchange.location.bytes
        if None not in (length, expected) and length != expected:
            raise answer.fail(f"has a file of {length:,} bytes, expected {expected:,}")
        if length is None and expected is None and not answer.chunked and self._sha256 is None:
            raise answer.fail("does not say how long the file is, so nobody could tell whether it came whole")
        pieces = self._sniffed(answer)
        if self._file.size and self._file.facts and self._file.facts.vouches_for(facts):
            pieces = self._skipped(answer, pieces)
            length = None if length is None else length - self._file.size
        else:
            if self._file.size:
                difference = self._file.facts.difference(facts) if self._file.facts else None
                self._start_over(difference or "the source cannot continue it")
            self._file.begin(facts)
        # A body that ends with the connection may be a piece of the file; one in chunks has said that it is whole.
        total = expected if length is None and not answer.chunked else facts.size
        return self._receive(answer, pieces, length=length, total=total)

    def _sniffed(self, answer: Answer) -> Iterator[bytes]:
        """Return the pieces of the body; raise NetworkError if they begin a web page."""
        begin, pieces = bytearray(), answer.pieces()
        for piece in pieces:
            begin += piece
            if len(begin) >= SNIFFED:
                break
        if looks_like_html(bytes(begin[:SNIFFED])):
            raise answer.web_page(bytes(begin))
        return chain([bytes(begin)] if begin else [], pieces)

    def _skipped(self, answer: Answer, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what follows the bytes on disk."""
        left = self._file.size
        for piece in pieces:
            rest = piece[left:]
            left -= min(left, len(piece))
            if rest:
                yield rest
        if left:
            raise Transient(f"{answer.host} broke off before the bytes that were missing")

    def _receive(self, answer: Answer, pieces: Iterable[bytes], *, length: int | None, total: int | None) -> bool:
        """Write the body, ``length`` bytes if that is known; return whether the file of ``total`` bytes is whole."""
        start = self._file.size
        for piece in pieces:
            self._check_room(answer, len(piece), None if length is None else start + length)
            self._file.append(piece)
            self._report(self._file.size)
        short = length is not None and self._file.size - start < length
        whole = total is None or self._file.size >= total
        if short or (not whole and self._file.size == start):
            raise Transient(f"{answer.host} broke off after {self._file.size:,} bytes")
        return whole

    def _check_room(self, answer: Answer, count: int, end: int | None) -> None:
        stated = [size for size in (end, self._total) if size is not None]
        limit = min(*stated, self._policy.largest) if stated else self._policy.largest
        if self._file.size + count > limit:
            self._file.remove()
            raise answer.fail(f"sends more than the {limit:,} bytes expected")

    def _report(self, done: int) -> None:
        if done > self._most:
            self._most = done
            self._exchange.progressed()
        if self._advance is not None:
            self._advance(done, self._total)

    def _start_over(self, reason: str) -> bool:
        """Throw the bytes away; return False: the file is not whole. Raises NetworkError the second time."""
        note = f"started again from zero after {self._file.size:,} bytes: {reason}"
        self._notes.append(note)
        self._file.drop()
        self._most = 0
        if len(self._notes) > _MOST_RESTARTS:
            found = f"does not serve one and the same file ({note}; {len(self._notes)} times)"
            raise self._exchange.error(found, OTHER)
        return False

    def _check_whole(self) -> None:
        """Raise NetworkError, and remove the part, if size or SHA-256 is not as stated."""
        expected, file = self._exchange.location.bytes, self._file
        if expected is not None and file.size != expected:
            raise self._wrong(f"{file.size:,} bytes, expected {expected:,}")
        if self._sha256 is not None and file.sha256 != self._sha256:
            raise self._wrong(f"SHA-256 {file.sha256}, expected {self._sha256}")

    def _wrong(self, found: str) -> NetworkError:
        self._file.remove()
        return self._exchange.error(
            f"what arrived has {found}; it was removed",
            "run again or use another source; if it stays so, a proxy or the disk may be damaging it",
        )
