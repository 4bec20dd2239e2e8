"""Makes boxes of the outputs of a detector: from candidates, or from regions of a map of scores."""
