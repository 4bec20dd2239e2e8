"""What programs have to bytes, and bytes to what programs want. Nothing here sends or waits."""
