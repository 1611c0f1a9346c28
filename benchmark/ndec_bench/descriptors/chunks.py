"""Chunked HDF5 datasets of strangers: which ones are read, and gzip unpacked without the HDF5 library.

The library believes a chunk: of one that unpacks to fewer bytes than its shape needs, it reads what lies behind it in
memory. So gzip is unpacked here, where the size is checked. For lzf the library gets as much memory as a chunk needs.
"""

from __future__ import annotations

import math
import zlib
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_bench.errors import SubmissionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py
    from numpy.typing import NDArray

GZIP, SHUFFLE, LZF = 1, 2, 32_000
_NAMES = {3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset"}
_PIPELINES = ((), (SHUFFLE,), (GZIP,), (LZF,), (SHUFFLE, GZIP), (SHUFFLE, LZF))
# Vectors hardly compress: of a chunk that is larger than this, and many times larger than the file, nothing is read.
_PLAIN_CHUNK = 64 << 20
_MAX_RATIO = 16


def check_layout(dataset: h5py.Dataset, where: str) -> None:
    """Raise SubmissionError if ``dataset`` has filters that are not read, or chunks that are far too large.

    Nothing but its description is read. ``where`` opens the message.
    """
    if dataset.chunks is None:
        return
    filters = _filters(dataset)
    codes = tuple(code for code, _ in filters)
    if codes not in _PIPELINES:
        unread = [code for code in codes if code not in (GZIP, SHUFFLE, LZF)]
        named = ", ".join(f"{code} ({_NAMES[code]})" if code in _NAMES else str(code) for code in unread or codes)
        raise SubmissionError(
            f"{where} is written with HDF5 filter {named}; only gzip and lzf are read, each with or without shuffle",
            hint='write it without filters, or run "h5repack -f NONE OLD.h5 NEW.h5"',
        )
    size, stored = _chunk_size(dataset), dataset.id.get_storage_size()
    if size > _PLAIN_CHUNK and size > _MAX_RATIO * stored:
        raise SubmissionError(
            f"{where} has chunks of {size / 2**30:,.1f} GiB, but the file holds {stored:,} bytes of it",
            hint="write it in smaller chunks, or without",
        )
    # For strings of varying length the library leaves the settings out.
    settings = {SHUFFLE: ((_item_size(dataset),), slice(1)), LZF: ((size,), slice(2, 3))}
    for code, values in filters:
        expected, place = settings.get(code, ((), slice(0)))
        if values[place] != expected and (values or dataset.dtype.kind != "O"):
            raise SubmissionError(
                f"{where} cannot be read (filter {code} is set for other chunks)",
                hint="the file is damaged: write or fetch it again",
            )


def check_chunks(dataset: h5py.Dataset) -> None:
    """Raise OSError if a chunk cannot have the size that the file says.

    The index of chunks is read through. Of strings of varying length, which only the library can read, every chunk is
    unpacked.
    """
    if dataset.chunks is None:
        return
    size, end = _chunk_size(dataset), Path(dataset.file.filename).stat().st_size
    packers = sum(1 << at for at, (code, _) in enumerate(_filters(dataset)) if code != SHUFFLE)

    def wrong(info: Any) -> str | None:  # noqa: ANN401 -- h5py's StoreInfo
        packed = packers & ~info.filter_mask
        fits = 0 < info.size <= end - info.byte_offset and (packed or info.size == size)
        return None if fits else f"a chunk of {info.size:,} bytes, expected {size:,} unpacked"

    if found := dataset.id.chunk_iter(wrong):
        raise OSError(found)
    if dataset.dtype.kind == "O":
        for corner in _corners(dataset, 0, len(dataset)):
            _unpacked(dataset, corner)


def read_rows(dataset: h5py.Dataset, start: int, stop: int) -> NDArray[Any]:
    """Return rows ``start`` to ``stop`` (not included) of ``dataset``. Raises OSError if a chunk is damaged."""
    if GZIP not in [code for code, _ in _filters(dataset)] or dataset.dtype.kind == "O":
        return np.asarray(dataset[start:stop])
    start, stop, _ = slice(start, stop).indices(len(dataset))
    rows = np.empty((stop - start, *dataset.shape[1:]), dtype=dataset.dtype)
    for corner in _corners(dataset, start, stop):
        chunk = _chunk(dataset, corner)
        first, last = max(start, corner[0]), min(stop, corner[0] + len(chunk))
        across = zip(corner[1:], chunk.shape[1:], strict=True)
        place = (slice(first - start, last - start), *(slice(at, at + size) for at, size in across))
        part = rows[place]
        part[...] = chunk[(slice(first - corner[0], last - corner[0]), *(slice(size) for size in part.shape[1:]))]
    return rows


def _corners(dataset: h5py.Dataset, start: int, stop: int) -> Iterator[tuple[int, ...]]:
    """Yield where the chunks begin that hold those rows."""
    tall, *wide = dataset.chunks
    sides = (range(0, size, step) for size, step in zip(dataset.shape[1:], wide, strict=True))
    return product(range(start - start % tall, stop, tall), *sides)


def _chunk(dataset: h5py.Dataset, corner: tuple[int, ...]) -> NDArray[Any]:
    content = _unpacked(dataset, corner)
    if content is None:
        return np.broadcast_to(np.asarray(dataset.fillvalue, dtype=dataset.dtype), dataset.chunks)
    return np.frombuffer(content, dtype=dataset.dtype).reshape(dataset.chunks)


def _unpacked(dataset: h5py.Dataset, corner: tuple[int, ...]) -> bytes | None:
    """Return the bytes of the chunk at ``corner``, None if it was never written. Raises OSError."""
    if dataset.id.get_chunk_info_by_coord(corner).byte_offset is None:
        return None
    skipped, content = dataset.id.read_direct_chunk(corner)
    size, filters = _chunk_size(dataset), _filters(dataset)
    for at in reversed(range(len(filters))):
        code, values = filters[at]
        if skipped >> at & 1:
            continue
        if code == GZIP:
            content = _inflated(content, size)
        elif code == SHUFFLE:
            content = np.frombuffer(content, np.uint8).reshape(values[0], -1).T.tobytes()
        else:
            content = _from_lzf(content, size)
    if len(content) != size:
        raise OSError(f"a chunk holds {len(content):,} bytes, expected {size:,}")
    return bytes(content)


def _inflated(content: bytes, size: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(content, size + 1)
    except zlib.error as error:
        raise OSError(f"gzip: {error}") from error
    if len(plain) != size or not unpacker.eof:
        raise OSError(f"a chunk unpacks to other than {size:,} bytes")
    return plain


def _from_lzf(content: bytes, size: int) -> bytes:
    """Return ``content`` unpacked. Slow, for a few megabytes; vectors are left to the library."""
    plain, at = bytearray(), 0
    try:
        while at < len(content) and len(plain) <= size:
            control = content[at]
            if control < 32:  # so many bytes as they are, and one
                plain += content[at + 1 : at + control + 2]
                at += control + 2
                continue
            length = control >> 5
            if length == 7:
                at += 1
                length += content[at]
            back = ((control & 31) << 8 | content[at + 1]) + 1
            repeated = plain[-back:] * (-(-(length + 2) // back))
            plain += repeated[: length + 2]
            at += 2
    except IndexError:
        plain.clear()
    if len(plain) != size:
        raise OSError(f"a chunk unpacks to other than {size:,} bytes")
    return bytes(plain)


def _filters(dataset: h5py.Dataset) -> list[tuple[int, tuple[int, ...]]]:
    """Return the filters of ``dataset`` in the order of writing, each as its number and its settings."""
    plist = dataset.id.get_create_plist()
    found = (plist.get_filter(at) for at in range(plist.get_nfilters()))
    return [(code, tuple(values)) for code, _, values, _ in found]


def _chunk_size(dataset: h5py.Dataset) -> int:
    return math.prod(map(int, dataset.chunks)) * _item_size(dataset)


def _item_size(dataset: h5py.Dataset) -> int:
    """Return the bytes of one number or string in the file; of a string of varying length, of what points to it."""
    if dataset.dtype.kind != "O":
        return int(dataset.dtype.itemsize)
    return int(dataset.file.id.get_create_plist().get_sizes()[0]) + 8
