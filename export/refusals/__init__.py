"""What keeps a module from being exported, and what to change."""
