"""Images to files of descriptors."""
