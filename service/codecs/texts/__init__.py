"""Turn texts into token ids, and labels of tokens into parts of texts."""
