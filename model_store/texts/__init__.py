"""Turns texts into token ids, and back."""
