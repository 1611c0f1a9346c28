"""Descriptors: one float32 vector per image with its id, in memory and in HDF5.

Two HDF5 forms are read and written. A *descriptor file* (``vectors``, ``image_names``; the form of isc2021) holds one
set of images. A *submission file* (``query``, ``reference``, ``query_ids``, ``reference_ids``; the form of the
DrivenData competition) holds both sides of a split.
"""

from ndec_bench.descriptors.files import (
    DescriptorFile,
    form_of,
    open_descriptors,
    read_background,
    read_descriptors,
    read_query_ids,
)
from ndec_bench.descriptors.hdf5 import read_attributes, sha256_of_file
from ndec_bench.descriptors.stored import Joined, StoredVectors
from ndec_bench.descriptors.submission import Submission, read_submission, read_submission_parts
from ndec_bench.descriptors.vectors import Descriptors, Survey, VectorSource, check_descriptors
from ndec_bench.descriptors.writing import write_descriptors, write_half, write_submission

__all__ = [
    "DescriptorFile",
    "Descriptors",
    "Joined",
    "StoredVectors",
    "Submission",
    "Survey",
    "VectorSource",
    "check_descriptors",
    "form_of",
    "open_descriptors",
    "read_attributes",
    "read_background",
    "read_descriptors",
    "read_query_ids",
    "read_submission",
    "read_submission_parts",
    "sha256_of_file",
    "write_descriptors",
    "write_half",
    "write_submission",
]
