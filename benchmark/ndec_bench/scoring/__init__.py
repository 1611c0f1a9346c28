"""From descriptors or pairs to a result."""
