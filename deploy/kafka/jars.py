"""The jars of Apache Kafka: fetched once from Maven Central, checked, and kept for this user."""

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.kafka.errors import BrokerError

KAFKA_VERSION = "4.1.1"
_KAFKA_COORDINATE = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# Kafka's own download has it, its list of dependencies does not: without it not a line is logged. What it needs in turn
# is among them. It is not resolved with them: the versions it prefers would take the place of theirs.
_LOGGING_COORDINATE = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
# Over the names and contents of all jars. Every version in the tree is fixed, so that the set is the same everywhere;
# this one number makes sure of it, where the repository's own checksums only tell of accidents.
_EXPECTED_SHA256 = "2d525b1b3e36e31feb6a4778d03a2d0500535cf6f889266a31cb688bdd74d6ad"
_INDEX_FILE = "classpath.json"
# How often a line is written where nothing can be redrawn
_PROGRESS_INTERVAL_S = 2.0
_DOWNLOAD_TIMEOUT_S = 30


def class_path(
    report_progress: Callable[[str], None], *, cache_dir: Path | None = None, repository_url: str | None = None
) -> list[Path]:
    """Return the jars, from the cache when they are there, else from Maven Central or the repository given."""
    cache_dir = cache_dir or Path.home() / ".cache" / "milepost"
    home = cache_dir / f"kafka-{KAFKA_VERSION}"
    try:
        if jars := _cached_jars(home):
            return jars
        with _download_lock(cache_dir, report_progress):
            # Another process may have fetched them while this one waited
            return _cached_jars(home) or _fetch(home, report_progress, repository_url)
    except OSError as error:
        raise BrokerError(f"The jars of Kafka cannot be kept in {cache_dir}: {error}") from error


def _cached_jars(jars_dir: Path) -> list[Path]:
    """Return the jars kept in this folder, or none when one is missing or was cut short."""
    try:
        sizes: dict[str, int] = json.loads((jars_dir / _INDEX_FILE).read_text())
        return [jars_dir / name for name, size in sizes.items() if _check_size(jars_dir / name, size)]
    except (FileNotFoundError, ValueError):
        return []


def _check_size(jar: Path, expected_size: int) -> bool:
    if jar.stat().st_size != expected_size:
        raise ValueError(jar)
    return True


@contextmanager
def _download_lock(cache_dir: Path, report_progress: Callable[[str], None]) -> Iterator[None]:
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report_progress(f"Kafka {KAFKA_VERSION}: another process is fetching it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(jars_dir: Path, report_progress: Callable[[str], None], repository_url: str | None) -> list[Path]:
    # Fetched aside and renamed when complete: what an interrupted attempt left can never be taken for Kafka.
    part = jars_dir.with_name(f"{jars_dir.name}.part")
    for old in (part, jars_dir):
        shutil.rmtree(old, ignore_errors=True)
    try:
        jars = _download(part, report_progress, repository_url)
    except Exception as error:
        # jgo lets through whatever its network, its XML or its assertions raise
        raise BrokerError(
            f"Kafka {KAFKA_VERSION} could not be fetched from {repository_url or 'Maven Central'}, "
            f"which the first start needs: {_root_cause(error)}"
        ) from error
    if _combined_sha256(jars) != _EXPECTED_SHA256:
        shutil.rmtree(part)
        raise BrokerError(
            f"What {repository_url or 'Maven Central'} sent as Kafka {KAFKA_VERSION} is not what was published: "
            "try again, and look for a proxy that changes downloads"
        )
    (part / _INDEX_FILE).write_text(
        json.dumps({str(jar.relative_to(part)): jar.stat().st_size for jar in jars}, indent=1)
    )
    part.rename(jars_dir)
    return _cached_jars(jars_dir)


def _root_cause(error: Exception) -> str:
    # An error of the network comes wrapped, and says at its end what went wrong
    wrapped = getattr(error.args[0], "reason", None) if error.args else None
    said = str(wrapped).rpartition(": ")[2] if wrapped else str(error)
    return " ".join(said.split()) or type(error).__name__


def _combined_sha256(jars: list[Path]) -> str:
    lines = (f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in jars)
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _download(target_dir: Path, report_progress: Callable[[str], None], repository_url: str | None) -> list[Path]:
    # Half a second of imports that a start from the cache has no use for
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415

    title = f"Kafka {KAFKA_VERSION}"
    report_progress(f"{title}: fetching it from {repository_url or 'Maven Central'}, 44 MB, this once")
    jars: list[Path] = []
    files = size = total = 0
    with _progress_line(report_progress) as show:

        @contextmanager
        def track_download(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
            nonlocal files
            files += 1

            def add_chunk(chunk_bytes: int) -> None:
                nonlocal size
                size += chunk_bytes
                what = f"{len(jars)} of {total} jars" if total else f"looking up what it needs, {files} files"
                show(f"{title}: {what}, {size / 1e6:.1f} MB")

            yield add_chunk

        context = MavenContext(
            resolver=PythonResolver(progress_callback=track_download),
            repo_cache=target_dir,
            remote_repos={"given": repository_url} if repository_url else None,
            timeout=_DOWNLOAD_TIMEOUT_S,
        )
        named, needed = context.resolver.resolve([context.create_dependency(_KAFKA_COORDINATE)])
        wanted = [*named, *needed, context.create_dependency(_LOGGING_COORDINATE)]
        total = len(wanted)
        for dependency in wanted:
            jars.append(dependency.artifact.resolve())  # noqa: PERF401 - the count is shown while it grows
    report_progress(f"{title}: {total} jars are here")
    return jars


@contextmanager
def _progress_line(report_progress: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Show a line that changes: in place on a terminal, else as a new line now and then."""
    from rich.console import Console  # noqa: PLC0415 - as for jgo

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("") as status:
            yield status.update
        return
    said = time.monotonic()

    def report_throttled(line: str) -> None:
        nonlocal said
        if time.monotonic() - said >= _PROGRESS_INTERVAL_S:
            said = time.monotonic()
            report_progress(line)

    yield report_throttled
