"""The lines of a digest, thousands at a time: ``query_id TAB reference_id TAB float.hex(score) LF``.

A loop over half a million pairs is the longest step after a search. Here a batch of lines is one matrix of bytes, a row
per line with zeros where a line has no byte; what is not zero, row by row, is the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGITS = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_MANTISSA = np.uint64((1 << 52) - 1)
_NIBBLES = np.arange(48, -4, -4, dtype=np.uint64)
_SUFFIX = 6  # as in "p-1022"


def text_of(query_ids: NDArray[np.str_], reference_ids: NDArray[np.str_], scores: NDArray[np.float64]) -> bytes:
    """Return the lines of some pairs as UTF-8. Three arrays of one length; scores finite."""
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
