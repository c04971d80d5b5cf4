"""What a milestone is, and how it is kept."""
