"""Remote stores for tests."""
