"""How models come and go in a worker: read from the store, loaded, put into service and taken out of it."""
