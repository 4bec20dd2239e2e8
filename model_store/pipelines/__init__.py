"""What the texts in a pipeline mean: wires, conditions, the order of steps, the form of answers."""
