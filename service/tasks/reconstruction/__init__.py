"""Rows to rows like them; large pictures in tiles."""
