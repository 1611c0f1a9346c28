"""Writing lists of pairs: CSV that keeps their order, Parquet that is small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_bench.atomic import replacing
from ndec_bench.matches.record import COLUMNS, Matches, sort_keys

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def write_pairs(path: Path, matches: Matches) -> None:
    """Write ``matches`` as CSV if the name ends in ``.csv``, else as compact Parquet; `read_pairs` reads both.

    Scores read back to the same float64, so that the list scores again to the same digest. CSV keeps the order of the
    pairs; Parquet is sorted by reference and query, which makes it small, and the same pairs give the same bytes.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    with replacing(path) as temporary:
        if path.suffix.lower() == ".csv":
            _write_csv(temporary, matches)
        else:
            _write_parquet(temporary, matches)


def _write_csv(path: Path, matches: Matches) -> None:
    import pandas as pd

    # As Python's own objects: their writing is the faster, and repr of a float reads back to the same float.
    columns = (matches.query_ids, matches.reference_ids, matches.scores)
    pairs = pd.DataFrame({name: column.astype(object) for name, column in zip(COLUMNS, columns, strict=True)})
    pairs.to_csv(path, index=False, lineterminator="\n")


def _write_parquet(path: Path, matches: Matches) -> None:
    """Write ``matches`` in about 9.3 bytes per pair, sorted by reference and query; scores keep every bit.

    The sort makes the reference ids nearly free. Query ids are a dictionary in code point order, whose 16-bit places
    cannot be made shorter. Of the scores, split into byte streams, only sign, exponent and leading bits compress.
    """
    import pyarrow as pa
    from pyarrow import parquet

    keys = [*sort_keys(matches.reference_ids), *sort_keys(matches.query_ids)]
    ordered = matches.take(np.lexsort(tuple(reversed(keys))))
    table = pa.table(
        {
            "query_id": _dictionary(ordered.query_ids),
            "reference_id": _dictionary(ordered.reference_ids).cast(pa.string()),
            "score": pa.array(ordered.scores),
        }
    )
    parquet.write_table(
        table,
        path,
        row_group_size=1 << 20,
        version="2.6",
        use_dictionary=["query_id"],
        column_encoding={"reference_id": "DELTA_LENGTH_BYTE_ARRAY", "score": "BYTE_STREAM_SPLIT"},
        compression="zstd",
        compression_level=19,
        write_statistics=False,
        store_schema=False,
        write_page_checksum=True,
    )


def _dictionary(ids: NDArray[np.str_]) -> Any:  # noqa: ANN401 -- pyarrow has no types
    import pyarrow as pa

    names, codes = np.unique(ids, return_inverse=True)
    return pa.DictionaryArray.from_arrays(pa.array(codes, type=pa.int32()), pa.array(names.tolist(), type=pa.string()))
