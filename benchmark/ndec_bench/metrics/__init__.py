"""Arrays in, numbers out: rankings, average precision, bootstrap, comparison."""
