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
_KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# Kafka's own download has it, its list of dependencies does not: without it not a line is logged. What it needs in turn
# is among them. It is not resolved with them: the versions it prefers would take the place of theirs.
_LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
# Over the names and contents of all jars. Every version in the tree is fixed, so that the set is the same everywhere;
# this one number makes sure of it, where the repository's own checksums only tell of accidents.
_FINGERPRINT = "2d525b1b3e36e31feb6a4778d03a2d0500535cf6f889266a31cb688bdd74d6ad"
_LIST = "classpath.json"
# How often a line is written where nothing can be redrawn
_LINE_EVERY = 2.0
_TIMEOUT = 30


def class_path(
    announce: Callable[[str], None], *, cache: Path | None = None, repository: str | None = None
) -> list[Path]:
    """Return the jars, from the cache when they are there, else from Maven Central or the repository given."""
    cache = cache or Path.home() / ".cache" / "milepost"
    home = cache / f"kafka-{KAFKA_VERSION}"
    try:
        if jars := _kept(home):
            return jars
        with _one_at_a_time(cache, announce):
            # Another process may have fetched them while this one waited
            return _kept(home) or _fetched(home, announce, repository)
    except OSError as error:
        raise BrokerError(f"The jars of Kafka cannot be kept in {cache}: {error}") from error


def _kept(home: Path) -> list[Path]:
    """Return the jars kept in this folder, or none when one is missing or was cut short."""
    try:
        sizes: dict[str, int] = json.loads((home / _LIST).read_text())
        return [home / name for name, size in sizes.items() if _is_whole(home / name, size)]
    except (FileNotFoundError, ValueError):
        return []


def _is_whole(jar: Path, size: int) -> bool:
    if jar.stat().st_size != size:
        raise ValueError(jar)
    return True


@contextmanager
def _one_at_a_time(cache: Path, announce: Callable[[str], None]) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            announce(f"Kafka {KAFKA_VERSION}: another process is fetching it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetched(home: Path, announce: Callable[[str], None], repository: str | None) -> list[Path]:
    # Fetched aside and renamed when complete: what an interrupted attempt left can never be taken for Kafka.
    part = home.with_name(f"{home.name}.part")
    for old in (part, home):
        shutil.rmtree(old, ignore_errors=True)
    try:
        jars = _downloaded(part, announce, repository)
    except Exception as error:
        # jgo lets through whatever its network, its XML or its assertions raise
        raise BrokerError(
            f"Kafka {KAFKA_VERSION} could not be fetched from {repository or 'Maven Central'}, "
            f"which the first start needs: {_cause(error)}"
        ) from error
    if _fingerprint(jars) != _FINGERPRINT:
        shutil.rmtree(part)
        raise BrokerError(
            f"What {repository or 'Maven Central'} sent as Kafka {KAFKA_VERSION} is not what was published: "
            "try again, and look for a proxy that changes downloads"
        )
    (part / _LIST).write_text(json.dumps({str(jar.relative_to(part)): jar.stat().st_size for jar in jars}, indent=1))
    part.rename(home)
    return _kept(home)


def _cause(error: Exception) -> str:
    # An error of the network comes wrapped, and says at its end what went wrong
    wrapped = getattr(error.args[0], "reason", None) if error.args else None
    said = str(wrapped).rpartition(": ")[2] if wrapped else str(error)
    return " ".join(said.split()) or type(error).__name__


def _fingerprint(jars: list[Path]) -> str:
    lines = (f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in jars)
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _downloaded(folder: Path, announce: Callable[[str], None], repository: str | None) -> list[Path]:
    # Half a second of imports that a start from the cache has no use for
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415

    title = f"Kafka {KAFKA_VERSION}"
    announce(f"{title}: fetching it from {repository or 'Maven Central'}, 44 MB, this once")
    jars: list[Path] = []
    files = size = total = 0
    with _progress(announce) as show:

        @contextmanager
        def counted(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
            nonlocal files
            files += 1

            def count(chunk: int) -> None:
                nonlocal size
                size += chunk
                what = f"{len(jars)} of {total} jars" if total else f"looking up what it needs, {files} files"
                show(f"{title}: {what}, {size / 1e6:.1f} MB")

            yield count

        context = MavenContext(
            resolver=PythonResolver(progress_callback=counted),
            repo_cache=folder,
            remote_repos={"given": repository} if repository else None,
            timeout=_TIMEOUT,
        )
        named, needed = context.resolver.resolve([context.create_dependency(_KAFKA)])
        wanted = [*named, *needed, context.create_dependency(_LOGGING)]
        total = len(wanted)
        for dependency in wanted:
            jars.append(dependency.artifact.resolve())  # noqa: PERF401 - the count is shown while it grows
    announce(f"{title}: {total} jars are here")
    return jars


@contextmanager
def _progress(announce: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Show a line that changes: in place on a terminal, else as a new line now and then."""
    from rich.console import Console  # noqa: PLC0415 - as for jgo

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("") as status:
            yield status.update
        return
    said = time.monotonic()

    def now_and_then(line: str) -> None:
        nonlocal said
        if time.monotonic() - said >= _LINE_EVERY:
            said = time.monotonic()
            announce(line)

    yield now_and_then
