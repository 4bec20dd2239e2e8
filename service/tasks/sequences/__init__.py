"""Series to series, and texts to texts."""
