"""What was measured, judged and shown."""
