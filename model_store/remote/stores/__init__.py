"""The kinds of remote stores: how their files are listed, read and written."""
