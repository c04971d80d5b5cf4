"""Faust as its documentation shows it: a fifth argument says `one` event a transaction, or `take` a thousand."""

import sys
from typing import Any, Final

import faust

from tests.benchmarks.peers.job import Arguments, Progress, prepared, write

_AT_ONCE: Final = 1000
_WITHIN_SECONDS: Final = 0.5


def main() -> None:
    """Run the application until all is done."""
    told, way = Arguments.of_command_line(), sys.argv[5]
    engine, progress = prepared(told.database), Progress(told.events)
    app = faust.App(
        f"stock-faust-{told.topic}",
        broker=f"kafka://{told.kafka}",
        value_serializer="raw",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )

    async def agent(stream: Any) -> None:  # noqa: ANN401 - Faust types its streams as anything
        if way == "one":
            async for value in stream:
                progress.begin()
                write(engine, [value])
                progress.done(1)
        else:
            async for values in stream.take(_AT_ONCE, within=_WITHIN_SECONDS):
                progress.begin()
                write(engine, values)
                progress.done(len(values))

    app.agent(app.topic(told.topic, key_serializer="raw", value_serializer="raw"), name="job")(agent)
    faust.Worker(app, loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    main()
