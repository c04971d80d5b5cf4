"""`milepost doctor`: looks at each thing that must be right for a role, and says of each that it is, or what to do."""

import platform
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from consumers.client import KafkaUnreachableError, admin_client, count_partitions, missing_topic
from consumers.rights import Right, Role, describe_missing_right, find_missing_rights, needed_rights
from deploy.certificates import Certificate, read_kafka_certificate, read_postgresql_certificate
from deploy.topic_settings import MIN_INSYNC, TopicSpec, describe_settings, find_broken_promises, find_replica_faults
from deploy.topics import describe_uneven_topics, required_topics
from models.configured_engine import open_configured_engine
from models.database.engine import DatabaseError, check_schema, driver_message, redacted_url
from models.database.rights import (
    READER_TABLE_RIGHTS,
    WORKER_TABLE_RIGHTS,
    require_right_to_create_tables,
    require_table_rights,
)
from models.database.tables import SCHEMA_REVISION
from models.kafka_login import shown_user
from models.settings import Settings, SettingsError
from models.text import one_line
from models.views.formatting import format_count

#: What each role does with the tables; the others do not use the database.
_TABLE_RIGHTS: Final = {
    Role.WORKER: WORKER_TABLE_RIGHTS,
    Role.AUDITOR: READER_TABLE_RIGHTS,
    Role.NOTIFY: READER_TABLE_RIGHTS,
    Role.BOARD: READER_TABLE_RIGHTS,
    Role.INIT: ("CREATE",),
}
#: The roles that may ask for the settings of topics.
_READS_SETTINGS: Final = (Role.WORKER, Role.INIT)
#: How far two clocks may be apart: much less than claims may be ahead of the broker's.
_MAX_SKEW_SECONDS: Final = 30.0
#: How long before the end of a certificate to renew it.
_RENEWAL_DAYS: Final = 14
#: Modes of libpq in which a server proves who it is.
_VERIFYING_MODES: Final = ("verify-ca", "verify-full")
_OLDEST_KAFKA: Final = (2, 8)
_PACKAGES: Final = ("kafka-python", "aiokafka", "faust-streaming", "sqlalchemy", "psycopg")


class Finding(NamedTuple):
    """One thing that must be right; `detail` says what is right, or what is wrong and what to do.

    A warning is of something without which the role goes on, and which its program warns of itself.
    """

    check: str
    is_ok: bool
    detail: str
    is_warning: bool = False


def _ok(check: str, detail: str) -> Finding:
    return Finding(check, is_ok=True, detail=detail)


def _wrong(check: str, detail: str) -> Finding:
    return Finding(check, is_ok=False, detail=detail)


def _warning(check: str, detail: str) -> Finding:
    return Finding(check, is_ok=True, detail=detail, is_warning=True)


Clock = Callable[[], datetime]


class _Versions(NamedTuple):
    """What is there besides this program, and whether it is too old."""

    found: list[str]
    too_old: list[str]


def examine(settings: Settings, role: Role, now: Clock) -> Iterator[Finding]:
    """Yield a finding for each thing that a role needs. Nothing is changed anywhere."""
    versions, clocks = _Versions([], []), list[Finding]()
    if needed_rights(settings, role):
        yield from _examine_kafka(settings, role, now, versions, clocks)
    if role in _TABLE_RIGHTS:
        yield from _examine_database(settings, role, now, versions, clocks)
    yield from clocks or [_ok("clock", f"{now():%Y-%m-%dT%H:%M:%SZ}; no other clock to compare it with")]
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    own = f"milepost {metadata.version('milepost')}, Python {platform.python_version()}, {packages}"
    if versions.too_old:
        yield _wrong("versions", "; ".join(versions.too_old))
    else:
        yield _ok("versions", ", ".join([*versions.found, own]))


# Kafka


def _examine_kafka(
    settings: Settings, role: Role, now: Clock, versions: _Versions, clocks: list[Finding]
) -> Iterator[Finding]:
    try:
        with admin_client(settings) as admin:
            yield _ok("login", _describe_login(settings))
            if settings.kafka_security_protocol.endswith("SSL"):
                yield _judge_certificate("TLS to Kafka", lambda: read_kafka_certificate(settings), now)
            yield from _examine_rights(settings, role, admin)
            yield from _examine_topics(settings, role, admin)
            clocks.extend(_compare_with_broker(settings, role, now, admin))
            version = admin._manager.broker_version  # noqa: SLF001 - the library has no other name for it
    except (KafkaUnreachableError, SettingsError) as error:
        yield _wrong("login", str(error))
        return
    versions.found.append(f"Kafka {'.'.join(map(str, version))} or newer")
    if version < _OLDEST_KAFKA:
        versions.too_old.append(f"Kafka is {'.'.join(map(str, version))}: Milepost needs 2.8 or newer")


def _describe_login(settings: Settings) -> str:
    protocol = settings.kafka_security_protocol
    if not protocol.startswith("SASL"):
        certificate = f" with the certificate {settings.kafka_ssl_certfile}" if settings.kafka_ssl_certfile else ""
        return f"{settings.kafka} by {protocol}{certificate}"
    return f"{settings.kafka} by {protocol} and {settings.kafka_sasl_mechanism} as {shown_user(settings, 'a token')}"


def _judge_certificate(check: str, read: Callable[[], Certificate], now: Clock) -> Finding:
    try:
        found = read()
    except OSError as error:
        return _warning(check, f"the certificate could not be looked at: {one_line(error)}")
    days = (found.ends - now()).days
    detail = (
        f"{found.server} has a certificate of {found.issuer} until {found.ends:%Y-%m-%d}, verified against"
        f" {found.authorities}"
    )
    if days < _RENEWAL_DAYS:
        return _warning(check, f"{detail}: it ends in {format_count(max(days, 0), 'day')}, renew it")
    return _ok(check, detail)


def _examine_rights(settings: Settings, role: Role, admin: KafkaAdminClient) -> Iterator[Finding]:
    rights = needed_rights(settings, role)
    missing = find_missing_rights(admin, rights)
    for right in rights:
        if right in missing:
            detail = f"{describe_missing_right(settings, right, role)}: {grant_command(settings, right)}"
            # Without it, what needs the right works all the same, and warns: contract, section 12.
            judge = _warning if right.operation == "DescribeConfigs" else _wrong
            yield judge(f"right {right}", detail)
        else:
            yield _ok(f"right {right}", "granted")


def grant_command(settings: Settings, right: Right) -> str:
    """Return the command of Kafka's own tools that grants a right."""
    user = shown_user(settings, "…")
    resource = f"--{right.kind} '{right.name}'"
    if right.name.endswith("*"):
        resource = f"--resource-pattern-type prefixed --{right.kind} '{right.name.removesuffix('*')}'"
    return f"kafka-acls.sh --add --allow-principal 'User:{user}' --operation {right.operation} {resource}"


def _examine_topics(settings: Settings, role: Role, admin: KafkaAdminClient) -> Iterator[Finding]:
    names = dict.fromkeys(right.name for right in needed_rights(settings, role) if right.kind == "topic")
    topics = [topic for topic in required_topics(settings) if topic.name in names]
    existing: dict[str, int] = {}
    for topic in topics:
        try:
            existing |= count_partitions(admin, [topic.name])
        except KafkaError:
            continue  # a missing right, which has its own line
        count = existing.get(topic.name)
        if count is None:
            yield _wrong(f"topic {topic.name}", missing_topic(settings, topic.name))
        else:
            yield _ok(f"topic {topic.name}", f"{count} partition{'s' * (count > 1)}")
    if role is Role.PUBLISHER:
        # Whether anything can be written, where a publisher may see that.
        seen = describe_settings(admin, [topic for topic in topics if topic.name in existing])
        for fault in find_replica_faults(admin, seen):
            yield _warning(f"topic {fault.topic} {fault.setting}", fault.problem)
    if role not in _READS_SETTINGS:
        return
    for problem in describe_uneven_topics(settings, existing):
        yield _wrong("partitions", problem)
    yield from _examine_settings([topic for topic in topics if topic.name in existing], admin)


def _examine_settings(topics: Sequence[TopicSpec], admin: KafkaAdminClient) -> Iterator[Finding]:
    if not topics:
        return
    broken = {(promise.topic, promise.setting): promise for promise in find_broken_promises(admin, topics)}
    values = describe_settings(admin, topics)
    for topic in topics:
        for setting in topic.config:
            if (promise := broken.get((topic.name, setting))) is not None:
                # As a worker judges it: contract, section 4.
                judge = _wrong if promise.is_fatal else _warning
                yield judge(f"topic {topic.name} {setting}", promise.problem)
            elif (value := values[topic.name].get(setting)) is not None:
                yield _ok(f"topic {topic.name} {setting}", value)
        if (fault := broken.get((topic.name, MIN_INSYNC))) is not None:
            yield _warning(f"topic {topic.name} {MIN_INSYNC}", fault.problem)


def _compare_with_broker(settings: Settings, role: Role, now: Clock, admin: KafkaAdminClient) -> Iterator[Finding]:
    """Compare with the time of the newest event, where the broker sets it: a clock behind that is behind Kafka's."""
    [events] = [topic for topic in required_topics(settings) if topic.is_log]
    if role not in _READS_SETTINGS:
        return
    try:
        if describe_settings(admin, [events])[events.name].get("message.timestamp.type") != "LogAppendTime":
            return
        count = count_partitions(admin, [events.name]).get(events.name, 0)
        wanted = {TopicPartition(events.name, number): OffsetSpec.MAX_TIMESTAMP for number in range(count)}
        newest = max((each.timestamp for each in admin.list_partition_offsets(wanted).values()), default=-1)
    except KafkaError:
        return  # a missing right has its own line, and an old broker does not say
    behind = newest / 1000 - now().timestamp()
    if behind > _MAX_SKEW_SECONDS:
        yield _wrong("clock", f"it is {behind:.0f} s behind that of Kafka: synchronise both (NTP)")
    elif newest >= 0:
        yield _ok("clock", "not behind that of Kafka")


# Database


def _examine_database(
    settings: Settings, role: Role, now: Clock, versions: _Versions, clocks: list[Finding]
) -> Iterator[Finding]:
    try:
        with open_configured_engine(settings) as engine:
            yield from _examine_server(engine, now, versions, clocks)
            if engine.dialect.name == "postgresql":
                yield from _examine_connection(settings, engine, now)
            yield from _examine_schema(engine, role)
    except (DatabaseError, SettingsError) as error:
        yield _wrong("database", str(error))


def _examine_server(engine: Engine, now: Clock, versions: _Versions, clocks: list[Finding]) -> Iterator[Finding]:
    if engine.dialect.name != "postgresql":
        yield _ok("database", redacted_url(engine))
        return
    try:
        with engine.connect() as connection:
            asked_at = now()
            server_time = connection.scalar(text("SELECT clock_timestamp()"))
            versions.found.append(f"PostgreSQL {connection.scalar(text('SHOW server_version'))}")
    except DBAPIError as error:
        raise DatabaseError(f"database {redacted_url(engine)} does not answer: {driver_message(error)}") from None
    yield _ok("database", redacted_url(engine))
    skew = (server_time.astimezone(UTC) - asked_at).total_seconds()
    is_ok = abs(skew) <= _MAX_SKEW_SECONDS
    problem = (
        f"it is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} that of PostgreSQL: synchronise both (NTP)"
    )
    clocks.append(
        Finding("clock", is_ok, f"within {_MAX_SKEW_SECONDS:.0f} s of that of PostgreSQL" if is_ok else problem)
    )


def _examine_connection(settings: Settings, engine: Engine, now: Clock) -> Iterator[Finding]:
    """Look at what the driver knows of its connection: TLS, and a pool between it and the server."""
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        info, is_encrypted = driver.info, driver.pgconn.ssl_in_use
        # A pool greets with a number of its own.
        has_pool = connection.scalar(text("SELECT pg_backend_pid()")) != info.backend_pid
    parameters = info.get_parameters()
    mode = parameters.get("sslmode", "prefer")
    check = "TLS to PostgreSQL"
    if is_encrypted and mode in _VERIFYING_MODES:
        yield _judge_certificate(check, lambda: read_postgresql_certificate(info.host, info.port, parameters), now)
    elif is_encrypted:
        yield _warning(check, f"encrypted, and nobody proved who answers: sslmode is {mode}, verify-full is the proof")
    elif not _is_local(info):
        yield _warning(check, f"none, with sslmode {mode}: set sslmode=verify-full and sslrootcert")
    if not settings.database_prepared:
        yield _ok("pool", "whether there is one makes no difference: MILEPOST_DATABASE_PREPARED is false")
    elif has_pool:
        yield _ok("pool", "a pool answers, as PgBouncer is: statements are not prepared")
    else:
        yield _ok("pool", "none: the server itself answers, and statements are prepared")


def _is_local(info: Any) -> bool:  # noqa: ANN401 - the driver's
    """Return whether a connection stays on this machine: a socket, or a loopback address."""
    if info.host.startswith("/"):
        return True
    try:
        return ip_address(info.hostaddr).is_loopback
    except ValueError:
        return False


def _examine_schema(engine: Engine, role: Role) -> Iterator[Finding]:
    try:
        check_schema(engine)
    except DatabaseError as error:
        # What `init` finds to do is nothing wrong with `init`.
        yield (_warning if role is Role.INIT else _wrong)("schema", str(error))
        if role is not Role.INIT:
            return
    else:
        yield _ok("schema", SCHEMA_REVISION)
    try:
        if role is Role.INIT:
            require_right_to_create_tables(engine)
        else:
            require_table_rights(engine, _TABLE_RIGHTS[role])
    except DatabaseError as error:
        yield _wrong("rights on tables", str(error))
    else:
        yield _ok("rights on tables", ", ".join(_TABLE_RIGHTS[role]))


def finding_line(finding: Finding) -> str:
    """Return a finding as one line."""
    word = "wrong" if not finding.is_ok else "warn" if finding.is_warning else "ok"
    return f"{word:<5} {finding.check}: {one_line(finding.detail, 2000)}"
