"""The HTTP surface: routes, statuses, and the doors that requests come in by."""
