"""The life of models in a worker: they are read from the store, loaded, put into service and taken out of it."""
