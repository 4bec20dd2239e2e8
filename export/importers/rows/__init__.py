"""Real rows of a model: from tables, and from files of pictures, texts and sounds."""
