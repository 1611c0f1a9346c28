"""Networks and preprocessing that several methods share."""
