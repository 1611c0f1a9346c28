"""Arrow tables of pairs as coded arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ndec_bench.matches.coded import Coded, Ids
from ndec_bench.matches.pairs import COLUMNS

if TYPE_CHECKING:
    from typing import Any


def coded_of(table: Any) -> Coded:  # noqa: ANN401 -- pyarrow has no types
    """Return the pairs of an Arrow table with the columns ``query_id,reference_id,score``, free of nulls."""
    query, reference, score = (table.column(name) for name in COLUMNS)
    return Coded(_ids(query), _ids(reference), np.ascontiguousarray(score.to_numpy(), dtype=np.float64))


def _ids(column: Any) -> Ids:  # noqa: ANN401
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # an empty column keeps its form
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], type=column.type)
    return Ids.of(whole.dictionary.to_pylist(), whole.indices.to_numpy(zero_copy_only=False))
