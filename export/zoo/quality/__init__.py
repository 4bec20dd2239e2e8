"""Quality measures of the reference models."""
