"""Generates docs/events.md from the types that decode: `python -m deploy.events_docs docs/events.md`."""
