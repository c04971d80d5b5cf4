"""The product as its users run it: processes, pages, signals."""
