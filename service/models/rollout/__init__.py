"""Canary and shadow: which version answers, what is learned of it, and when it goes back to the stable version."""
