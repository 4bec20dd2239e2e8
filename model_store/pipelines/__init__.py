"""The language of pipelines: wires, conditions, the order of steps, the form of answers."""
