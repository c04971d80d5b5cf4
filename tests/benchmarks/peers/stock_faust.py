"""Faust as its documentation shows it: a fifth argument says `one` event a transaction, or `take` a thousand."""

import sys
from typing import Any, Final

import faust

from tests.benchmarks.peers.job import PeerArguments, PeerProgress, create_job_tables, write_batch

_TAKE_EVENTS: Final = 1000
_TAKE_SECONDS: Final = 0.5


def main() -> None:
    """Run the application until all is done."""
    told, way = PeerArguments.from_command_line(), sys.argv[5]
    engine, progress = create_job_tables(told.database), PeerProgress(told.events)
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
                progress.start_clock()
                write_batch(engine, [value])
                progress.add_committed(1)
        else:
            async for values in stream.take(_TAKE_EVENTS, within=_TAKE_SECONDS):
                progress.start_clock()
                write_batch(engine, values)
                progress.add_committed(len(values))

    app.agent(app.topic(told.topic, key_serializer="raw", value_serializer="raw"), name="job")(agent)
    faust.Worker(app, loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    main()
