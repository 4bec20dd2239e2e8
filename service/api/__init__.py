"""What each route means."""
