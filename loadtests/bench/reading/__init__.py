"""Pages of text, read by a pipeline and by the package that its models are from."""
