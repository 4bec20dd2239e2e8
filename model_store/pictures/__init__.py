"""Pictures, as files, to rows of tensors: what the server does with a request, and ``sluice import`` with a sample."""
