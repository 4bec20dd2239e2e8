"""Pictures, series and texts to tensors, and back."""
