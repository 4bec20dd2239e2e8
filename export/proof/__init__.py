"""The proof of an exported graph: equal to the original, rows independent."""
