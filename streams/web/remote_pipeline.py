"""Asks workers over HTTP for the state of the pipeline: what a board without a worker shows of it.

The workers' answers are at most ten seconds old, however often the page is requested. Time and size of an answer are
bounded, so that a worker that hangs, or something else at its address, harms no board. A name that stands for several
addresses, as that of a headless Service of Kubernetes, is a worker at each of them.
"""

import asyncio
import socket
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, hdrs
from cachetools import TTLCache
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from models.setting_values import split_address
from models.settings import MAX_WORKERS
from models.text import one_line, printable
from streams.web.pipeline_status import PipelineCounts, PipelineSchema, PipelineStatus, count_samples

#: How long all answers of a worker may take together.
ANSWER_SECONDS: Final = 3.0
CACHE_SECONDS: Final = 10.0
#: A page with ten thousand partitions, the most that there may be, has three quarters of it.
MAX_METRICS_BYTES: Final = 4 * 1024 * 1024
MAX_HEALTH_BYTES: Final = 64 * 1024
#: No line of a worker is longer; a longer one would take the parser minutes.
MAX_LINE_LENGTH: Final = 8 * 1024
MAX_REASONS: Final = 20
_CHUNK_BYTES: Final = 64 * 1024

_NO_WORKERS: Final = (
    "The state of the pipeline is not known here, because MILEPOST_WORKERS names no worker: the board of each worker"
    " shows it, and `milepost dead-letters list` the rejected events."
)
_NO_DEAD_LETTERS: Final = "this board does not read Kafka; `milepost dead-letters list` lists them."


class UnusableResponseError(Exception):
    """What answers is no worker, or says too much; the message says what is wrong."""


class _Health(Struct):
    """The body of `/live` and `/ready`."""

    reasons: dict[str, str]


class WorkerAnswer(NamedTuple):
    """What one worker said."""

    counts: PipelineCounts
    #: Why it is not ready, by name.
    reasons: dict[str, str]


class HttpPipelineReader:
    """Reads the status of the workers at some addresses."""

    def __init__(self, workers: Sequence[str]) -> None:
        self._workers = workers
        self._cache = TTLCache[str, PipelineSchema](1, ttl=CACHE_SECONDS)
        self._read_lock = asyncio.Lock()

    async def read(self) -> PipelineSchema:
        """Return the status, at most ten seconds old; a worker that does not answer is a reason."""
        if not self._workers:
            return PipelineSchema(None, (), _NO_DEAD_LETTERS, _NO_WORKERS)
        async with self._read_lock:
            if (status := self._cache.get("status")) is None:
                status = self._cache["status"] = await self._ask_all()
            return status

    async def read_status(self) -> PipelineStatus | None:
        """Return what the workers say, at most ten seconds old."""
        return (await self.read()).pipeline

    async def _ask_all(self) -> PipelineSchema:
        found = await asyncio.gather(*map(_find_addresses, self._workers))
        # Two names may stand for one worker, which counts once.
        workers = list(dict.fromkeys(address for addresses in found for address in addresses))
        asked = workers[:MAX_WORKERS]
        async with ClientSession(
            timeout=ClientTimeout(total=ANSWER_SECONDS),
            # A compressed answer could be any number of times as large.
            headers={hdrs.ACCEPT_ENCODING: "identity"},
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
        ) as session:
            answers = await asyncio.gather(*(_ask(session, worker) for worker in asked))
        together, reasons = PipelineCounts(), dict[str, str]()
        if len(asked) < len(workers):
            reasons["MILEPOST_WORKERS"] = f"only {len(asked)} of {len(workers)} workers are asked"
        for worker, answer in zip(asked, answers, strict=True):
            if isinstance(answer, str):
                reasons[worker] = answer
            else:
                together.add(answer.counts)
                reasons |= {f"{worker} {name}": reason for name, reason in answer.reasons.items()}
        return PipelineSchema(together.to_status(reasons), (), _NO_DEAD_LETTERS, workers=asked)


async def _find_addresses(worker: str) -> Sequence[str]:
    """Return the addresses for which a name stands, of one family; the name itself where there are not several."""
    host, port = split_address(worker)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (TimeoutError, OSError):
        return (worker,)  # The question to the worker itself says what is wrong.
    # A worker may have an address of either family.
    hosts = sorted({address[0] for family, *_, address in found if family == found[0][0]})
    if len(hosts) < 2:  # noqa: PLR2004 - several
        return (worker,)
    return [f"[{each}]:{port}" if found[0][0] == socket.AF_INET6 else f"{each}:{port}" for each in hosts]


async def _ask(session: ClientSession, worker: str) -> WorkerAnswer | str:
    """Return what a worker says, or why that is unknown."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            health = [
                msgspec.json.decode(
                    await _fetch(session, f"http://{worker}/{path}", MAX_HEALTH_BYTES, {200, 503}), type=_Health
                )
                for path in ("live", "ready")
            ]
            page = await _fetch(session, f"http://{worker}/metrics", MAX_METRICS_BYTES, {200})
        counts = await asyncio.to_thread(_parse_metrics, page)
    except (TimeoutError, ClientError, OSError):
        return "does not answer"
    except UnusableResponseError as error:
        return str(error)
    except (ValueError, LookupError, msgspec.MsgspecError):
        return "does not answer as a worker does"
    reasons = [reason for found in health for reason in found.reasons.items()][:MAX_REASONS]
    return WorkerAnswer(counts, {_safe(name): _safe(reason) for name, reason in reasons})


async def _fetch(session: ClientSession, url: str, max_bytes: int, statuses: Collection[int]) -> bytes:
    async with session.get(url, allow_redirects=False) as response:
        if response.status not in statuses:
            raise UnusableResponseError(f"answers with status {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > max_bytes:
                raise UnusableResponseError(f"answers with more than {max_bytes // 1024} KiB")
        return bytes(body)


def _parse_metrics(page: bytes) -> PipelineCounts:
    text = page.decode()
    if any(len(line) > MAX_LINE_LENGTH for line in text.split("\n")):
        raise ValueError("a line is too long")
    return count_samples(sample for family in text_string_to_metric_families(text) for sample in family.samples)


def _safe(text: str) -> str:
    return printable(one_line(text))
