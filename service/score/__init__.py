"""`sluice score`: sends a whole table, or a folder of files, through a model, in a worker without a port."""
