"""What is scored: tables and folders of files, read piece by piece."""
