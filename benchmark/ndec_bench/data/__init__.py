"""Where images and ground truth come from."""
