"""Pictures to rows, and rows, boxes and masks to pictures."""
