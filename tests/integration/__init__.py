"""The real thing: real brokers, real databases."""
