"""How contents come: in parts, tried again, checked, and told to whoever waits."""
