"""Texts to token ids, and labels of tokens to parts of texts."""
