"""What Prometheus sees of a worker that is told the story, and what it shows of it."""
