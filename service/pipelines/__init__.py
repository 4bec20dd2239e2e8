"""`sluice pipeline`."""
