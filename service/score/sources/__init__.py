"""The inputs: tables and folders of files, read piece by piece."""
