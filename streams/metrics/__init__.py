"""The metric families and the rendered series."""
