"""Decides what runs next and together, and how long it will take: objects without a clock, thread or event loop."""
