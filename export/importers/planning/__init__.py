"""The parts of a plan, by what they are about: pictures, boxes, and rows with one answer."""
