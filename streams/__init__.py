"""The Faust application: events in, state and numbers out."""
