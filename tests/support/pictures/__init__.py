"""Pictures as files, for tests."""
