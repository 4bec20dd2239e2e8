"""What callers may change while the server runs."""
