"""Fetches contents: in parts, with retries, checked, with progress."""
