"""The container image: what is in it, and the whole system run in containers of it."""
