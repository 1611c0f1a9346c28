"""The scored record: what it holds, where it was computed, what it stands beside."""
