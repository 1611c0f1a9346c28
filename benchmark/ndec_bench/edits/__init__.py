"""The edits of ``ndec-mini`` and of the ASL trainer: kind, strength and remaining area, the same pixels everywhere.

>>> from ndec_bench.edits import apply_chain, sample_chain
>>> from ndec_bench.randomness import Stream
>>> chain = sample_chain(Stream("example"), max_edits=2, donors=False)
>>> import numpy as np
>>> edited = apply_chain(np.zeros((120, 160, 3), np.uint8), chain)
>>> 0 < edited.remaining_area <= 1
True
"""

from __future__ import annotations

from ndec_bench.edits.chain import EDITS, STAGES, Edited, apply_chain, as_pixels, sample_chain
from ndec_bench.edits.picture import Donors, EditKind, EditStep

__all__ = ["EDITS", "STAGES", "Donors", "EditKind", "EditStep", "Edited", "apply_chain", "as_pixels", "sample_chain"]
