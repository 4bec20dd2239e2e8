"""`sluice score`: a whole table, or folder of files, through a model, by a worker without a port."""
