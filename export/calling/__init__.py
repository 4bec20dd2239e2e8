"""How a model is called: what may stand for a module, arguments by name, and names for what comes back."""
