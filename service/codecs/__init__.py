"""Turn pictures, sounds, series and texts into tensors, and tensors into labels, boxes, texts and pictures."""
