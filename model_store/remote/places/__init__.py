"""Where remote stores lie: how their files are listed, read and written."""
