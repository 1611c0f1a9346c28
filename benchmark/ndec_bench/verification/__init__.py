"""Results made again, and what differs."""
