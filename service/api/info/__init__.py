"""What the server tells of itself and its models."""
