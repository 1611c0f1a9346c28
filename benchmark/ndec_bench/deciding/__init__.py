"""From a list of scored pairs to a decision: thresholds, what they cost, alarms against the number of references."""
