"""The files of Hugging Face folders, and those of models of texts."""
