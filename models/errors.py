"""The errors of Milepost: one base for all whose message is one line for people, and one that passes by itself."""


class MilepostError(Exception):
    """An error that people can act on. The message is one line: what, where, what to do."""


class ConcurrentWriteError(Exception):
    """Another writer was faster; the same work again will see what it did."""
