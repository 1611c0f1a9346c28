"""From images to a file of descriptors."""
