"""The record of scored pairs, their order of record and their digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_bench.errors import SubmissionError
from ndec_bench.printable import escaped, wrong_ids, wrong_with_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = ("query_id", "reference_id", "score")
READING = "reading pairs"
"""Stage of the progress while a list is read."""
FEWER = "keep the best pairs only: ten per labelled query make the list"
"""Hint where a list does not fit into memory."""

_ROWS_PER_STEP = 1 << 14
_MAX_KEYS = 4
_DIGITS = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_MANTISSA = np.uint64((1 << 52) - 1)
_NIBBLES = np.arange(48, -4, -4, dtype=np.uint64)
_SUFFIX = 6  # as in "p-1022"


@dataclass(frozen=True)
class Matches:
    """Scored pairs as parallel arrays; higher scores are more alike.

    Attributes
    ----------
    query_ids, reference_ids
        (n,) arrays of str (numpy unicode); lists, object arrays and pandas columns whose elements are all str are cast.
    scores
        (n,) float64, finite; other floating-point numbers, torch tensors among them, are cast.

    Raises
    ------
    SubmissionError
        If the three are not of one length, an id is not text or not usable, a score is not a finite number, or a pair
        appears twice: what is refused in a file is refused here.
    """

    query_ids: NDArray[np.str_]
    reference_ids: NDArray[np.str_]
    scores: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check the pairs, see above."""
        for name in ("query_ids", "reference_ids"):
            object.__setattr__(self, name, _checked_ids(name, getattr(self, name)))
        object.__setattr__(self, "scores", _checked_scores(self.scores))
        lengths = {len(self.query_ids), len(self.reference_ids), len(self.scores)}
        if len(lengths) > 1:
            raise SubmissionError(
                f"{len(self.query_ids):,} query ids, {len(self.reference_ids):,} reference ids and "
                f"{len(self.scores):,} scores",
                hint="give one of each per pair",
            )
        row = _first_repeat(self.query_ids, self.reference_ids)
        if row is not None:
            raise SubmissionError(
                f"the pair {self.query_ids[row]},{self.reference_ids[row]} appears twice",
                hint="give each pair one score",
            )

    @classmethod
    def trusted(
        cls, query_ids: NDArray[np.str_], reference_ids: NDArray[np.str_], scores: NDArray[np.float64]
    ) -> Matches:
        """Return pairs that were checked where they come from: arrays as above, each pair once."""
        matches = object.__new__(cls)
        for name, value in (("query_ids", query_ids), ("reference_ids", reference_ids), ("scores", scores)):
            object.__setattr__(matches, name, value)
        return matches

    def __len__(self) -> int:
        return len(self.scores)

    def sorted(self, limit: int | None = None) -> Matches:
        """Return the first ``limit`` pairs in the order of record: score descending, query id, reference id.

        The order knows nothing of the truth; ids compare by code point.
        """
        if limit is not None and 0 < limit < len(self):
            # Pairs below the last score that can make the list need no sorting.
            last = np.partition(self.scores, -limit)[-limit]
            rows = np.flatnonzero(self.scores >= last)
            if len(rows) < len(self):
                return self.take(rows).sorted(limit)
        keys = [*sort_keys(self.query_ids), *sort_keys(self.reference_ids)]
        order = np.lexsort((*reversed(keys), -self.scores))[:limit]
        return self.take(order)

    def take(self, rows: NDArray[Any]) -> Matches:
        """Return the pairs at ``rows`` (indices or a boolean mask), in that order."""
        return Matches.trusted(self.query_ids[rows], self.reference_ids[rows], self.scores[rows])

    @property
    def sha256(self) -> str:
        """Return the SHA-256 (hex) over ``query_id TAB reference_id TAB float.hex(score) LF`` in the present order."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _ROWS_PER_STEP):
            part = slice(start, start + _ROWS_PER_STEP)
            digest.update(text_of(self.query_ids[part], self.reference_ids[part], self.scores[part]))
        return digest.hexdigest()


def array_of(where: str, values: Any) -> tuple[NDArray[Any], str]:  # noqa: ANN401 -- whatever a caller gives
    """Return ``values`` as an array in memory, and the name of the type they came in; ``where`` opens messages.

    torch tensors are taken without importing torch: detached, from any device.

    Raises
    ------
    SubmissionError
        If they do not make an array, or some of them are masked.
    """
    stored = str(getattr(values, "dtype", "")).removeprefix("torch.")
    try:
        if hasattr(values, "detach"):
            tensor = values.detach()
            # NumPy has no bfloat16: by way of float32, which holds every value of it.
            array = np.asarray((tensor.float() if stored.startswith(("bfloat", "float8")) else tensor).cpu().numpy())
            return array, stored
        masked, array = np.ma.is_masked(values), np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # sparse tensors, rows of several lengths
        raise SubmissionError(
            f"{where}: {type(values).__name__} cannot be read as a plain array", hint="give a dense NumPy array"
        ) from error
    if masked:
        raise SubmissionError(f"{where}: some values are masked", hint="leave these rows out")
    return array, str(array.dtype)


def _checked_ids(name: str, ids: Any) -> NDArray[np.str_]:  # noqa: ANN401
    found, stored = array_of(name, ids)
    texts = found.tolist()
    # Columns of pandas and of object arrays hold text too; whatever else they hold is not an id.
    if found.ndim != 1 or not all(isinstance(text, str) for text in texts):
        raise SubmissionError(
            f"{name}: {stored} of shape {found.shape}, expected text of shape (pairs,)", hint="give ids as str"
        )
    bad = wrong_ids(texts)
    if bad:
        raise SubmissionError(
            f"{name}: {escaped(texts[bad[0]], 40)} at {bad[0]} {wrong_with_id(texts[bad[0]])}",
            hint="give the plain image ids, e.g. Q25000",
        )
    return found if found.dtype.kind == "U" else np.array(texts, dtype=np.str_)


def _checked_scores(scores: Any) -> NDArray[np.float64]:  # noqa: ANN401
    found, stored = array_of("scores", scores)
    if found.ndim != 1 or (found.dtype.kind != "f" and len(found)):
        raise SubmissionError(
            f"scores: {stored} of shape {found.shape}, expected floating-point numbers of shape (pairs,)",
            hint="give one score per pair",
        )
    found = np.ascontiguousarray(found, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise SubmissionError(
            f"scores: {found[bad[0]]} at {bad[0]}, expected a finite number", hint="leave pairs without a score out"
        )
    return found


def _first_repeat(query_ids: NDArray[np.str_], reference_ids: NDArray[np.str_]) -> int | None:
    """Return the row of a pair that appears twice; None if there is none."""
    keys = [*sort_keys(query_ids), *sort_keys(reference_ids)]
    order = np.lexsort(keys)
    same = np.logical_and.reduce([key[order[1:]] == key[order[:-1]] for key in keys]) if len(order) > 1 else []
    repeats = np.flatnonzero(same)
    return int(order[repeats[0] + 1]) if len(repeats) else None


def sort_keys(ids: NDArray[np.str_]) -> list[NDArray[np.integer[Any]]]:
    """Return arrays of integers that order rows as ``ids`` does, the most important first.

    Eight ASCII characters, or two of any kind, are packed into one integer: sorting these is many times faster than
    sorting strings, and the padding zeros put a prefix before what it begins, as code point order does.
    """
    width = ids.dtype.itemsize // 4
    if not len(ids) or not width or ids.dtype.kind != "U" or not ids.dtype.isnative:
        return [np.unique(ids, return_inverse=True)[1]]
    points = np.ascontiguousarray(ids).view(np.uint32).reshape(len(ids), width)
    bits = 8 if points.max() < 1 << 8 else 32
    per_key = 64 // bits
    if width > _MAX_KEYS * per_key:
        return [np.unique(ids, return_inverse=True)[1]]
    keys = []
    for start in range(0, width, per_key):
        key = np.zeros(len(ids), dtype=np.uint64)
        for column in range(start, start + per_key):
            key <<= np.uint64(bits)
            if column < width:
                key |= points[:, column]
        keys.append(key)
    return list(keys)


def text_of(query_ids: NDArray[np.str_], reference_ids: NDArray[np.str_], scores: NDArray[np.float64]) -> bytes:
    """Return the digest's lines of some pairs as UTF-8. Three arrays of one length; scores finite.

    A loop over half a million pairs would be the longest step after a search. Here all lines are one matrix of bytes, a
    row per line, zeros where a line has no byte; what is not zero, row by row, is the text.
    """
    columns = [_ascii(ids) for ids in (query_ids, reference_ids)]
    if columns[0] is None or columns[1] is None or not len(scores):
        rows = zip(query_ids.tolist(), reference_ids.tolist(), scores.tolist(), strict=True)
        return "".join(f"{query}\t{reference}\t{score.hex()}\n" for query, reference, score in rows).encode()
    tab, end = (np.full((len(scores), 1), ord(sign), dtype=np.uint8) for sign in "\t\n")
    lines = np.concatenate([columns[0], tab, columns[1], tab, *_hex(scores), end], axis=1)
    text: bytes = lines[lines != 0].tobytes()
    return text


def _ascii(ids: NDArray[np.str_]) -> NDArray[np.uint8] | None:
    """Return (n, width) bytes of ``ids``, zeros behind the shorter ones; None where they are not all ASCII."""
    width = ids.dtype.itemsize // 4
    if ids.dtype.kind != "U" or not width or not ids.dtype.isnative:
        return None
    points = np.ascontiguousarray(ids).view(np.uint32).reshape(len(ids), width)
    # A zero inside an id would be lost with the padding.
    inside = (points[:, 1:] != 0) & (points[:, :-1] == 0)
    return None if points.size and (points.max() > 127 or inside.any()) else points.astype(np.uint8)


def _hex(scores: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
    """Return columns of bytes that together are ``float.hex`` of each score: sign, head, mantissa, exponent."""
    bits = np.ascontiguousarray(scores).view(np.uint64)
    mantissa, exponent = bits & _MANTISSA, (bits >> np.uint64(52)).astype(np.int64) & 0x7FF
    zero, small = scores == 0.0, exponent == 0
    sign = np.where(np.signbit(scores), ord("-"), 0).astype(np.uint8)[:, None]
    head = np.tile(np.frombuffer(b"0x1.", dtype=np.uint8), (len(scores), 1))
    head[small, 2] = ord("0")
    digits = _DIGITS[((mantissa[:, None] >> _NIBBLES) & np.uint64(15)).astype(np.intp)]
    digits[zero, 1:] = 0  # Python writes a zero as 0x0.0p+0
    # Subnormal numbers have the exponent of the smallest normal ones.
    power = np.where(zero, 0, np.where(small, -1022, exponent - 1023))
    values, at = np.unique(power, return_inverse=True)
    texts = b"".join(f"p{value:+d}".encode().ljust(_SUFFIX, b"\0") for value in values.tolist())
    return [sign, head, digits, np.frombuffer(texts, dtype=np.uint8).reshape(-1, _SUFFIX)[at]]
