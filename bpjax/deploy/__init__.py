"""What a finished model costs: arithmetic and measured time."""
