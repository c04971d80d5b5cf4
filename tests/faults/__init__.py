"""Faults under load, and what must be true after each: `make faults`, and a part of it in `make test`."""
