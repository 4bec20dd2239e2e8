"""The measured models."""
