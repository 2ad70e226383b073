"""What a saved model says of new texts."""
