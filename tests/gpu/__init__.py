"""What must hold on a machine with a GPU."""
