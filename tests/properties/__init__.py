"""What holds for all inputs, on inputs nobody thought of."""
