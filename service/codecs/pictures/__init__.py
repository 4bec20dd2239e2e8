"""Read pictures into rows, and draw rows, boxes and masks as pictures."""
