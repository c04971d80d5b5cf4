"""The same job done with what a user would pick instead: each a program of its own, all with the same job.

`python -m tests.benchmarks.peers.NAME KAFKA DATABASE TOPIC EVENTS`: reads so many events from a topic, keeps every
event once and the newest claim of each milestone in PostgreSQL, and prints when it began and ended (`job.Progress`).
They do a part of what Milepost does: no retractions, no validation but that of types, no dead letters, no positions,
no signals, no forecasts, no metrics.
"""
