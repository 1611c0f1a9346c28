"""The scored record, where it was computed, and comparisons of records."""
