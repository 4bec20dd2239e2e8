"""The owner's work on a store: move ``stable``, compare, remove and migrate versions, begin and end trials."""
