"""How fast Milepost is, on this machine: `make bench`, or `python -m tests.benchmarks [name ...]`.

Each benchmark is a module with a function `measure`, and brings Kafka, PostgreSQL and workers of its own. What is timed
is the product: the schedule is called as it is, a worker runs in a process of its own, as it is run everywhere, and
tells what it did when (`sights`, `watched`). None of it is a test: how long something took says little of whether it is
right, and nothing on a machine that others use.
"""
