"""How patient a download is with its source."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_BYTES_PER_READ = 1 << 20


@dataclass(frozen=True)
class Policy:
    """How patient a download is. Times in seconds, amounts in bytes.

    Attributes
    ----------
    attempts
        Tries in a row that bring nothing new before it gives up; any new byte starts the count again.
    connect_timeout, read_timeout
        Longest wait for a connection and for the next bytes.
    first_wait, longest_wait
        Wait after the first failure, doubled after each further one up to the longest.
    jitter
        Share of a wait that is drawn at random (1: all, "full jitter"), so that many clients do not return as one.
    longest_retry_after
        Longest wait that a server may ask for; more than that is an error.
    piece
        Most bytes taken from the network before they are written; at most 1 MiB, since a killed run loses them.
    slowest, slow_for
        A source that sends less than ``slowest`` bytes per second over ``slow_for`` seconds is asked anew.
    redirects
        Most redirects followed for one request.
    largest
        Most bytes a file may have whose size nobody states.
    """

    attempts: int = 8
    connect_timeout: float = 20.0
    read_timeout: float = 60.0
    first_wait: float = 1.0
    longest_wait: float = 60.0
    jitter: float = 1.0
    longest_retry_after: float = 300.0
    piece: int = 1 << 18
    slowest: int = 1 << 10
    slow_for: float = 60.0
    redirects: int = 10
    largest: int = 1 << 40

    def __post_init__(self) -> None:
        """Refuse a policy that cannot keep its promises."""
        if self.attempts < 1 or not 0 < self.piece <= _MOST_BYTES_PER_READ:
            raise ValueError("a policy needs at least one attempt and a piece of 1 byte to 1 MiB")


DEFAULT_POLICY = Policy()
