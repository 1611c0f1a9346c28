"""Zip and tar archives read in place: chunks as one stream, indexes, safe members."""
