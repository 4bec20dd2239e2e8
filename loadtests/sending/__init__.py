"""What a load test sends, and when."""
