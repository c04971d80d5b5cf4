"""The sample programme: makers of medical equipment in a special economic zone, as a public report told it."""
