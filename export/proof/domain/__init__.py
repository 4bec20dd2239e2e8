"""Which inputs a graph takes, and that it is right at both ends and beyond the samples."""
