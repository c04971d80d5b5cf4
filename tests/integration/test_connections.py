"""No connection of aiokafka outlives its client, whenever the client is interrupted or closed."""

import asyncio
from typing import Any

from aiokafka import client as aiokafka_client
from aiokafka.client import AIOKafkaClient

from models.settings import Settings
from streams.kafka.config import aiokafka_options
from tests.helpers.workers import wait_until_async


async def _answer_once(kafka: str, asked: asyncio.Event, ended: asyncio.Event) -> asyncio.Server:
    """Serve as a broker that answers which versions it has, and then says nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = kafka.rpartition(":")
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        upstream_writer.write(await reader.read(65536))
        writer.write(await upstream_reader.read(65536))
        await reader.read(65536)
        asked.set()
        assert await reader.read(65536) == b""
        ended.set()
        for each in (writer, upstream_writer):
            each.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def test_a_client_that_is_interrupted_while_it_asks_for_metadata_leaves_no_connection_open(kafka: str) -> None:
    async def run() -> None:
        asked, ended = asyncio.Event(), asyncio.Event()
        async with await _answer_once(kafka, asked, ended) as server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            client = AIOKafkaClient(**aiokafka_options(Settings(kafka=address)))
            starting = asyncio.create_task(client.bootstrap())
            await asyncio.wait_for(asked.wait(), 30)
            starting.cancel()
            await asyncio.wait([starting])
            assert starting.cancelled()
            # At once, and not when the garbage collector comes by: the client is still there.
            await asyncio.wait_for(ended.wait(), 30)
            await client.close()

    asyncio.run(run())


def test_a_connection_that_is_made_while_its_client_is_closed_is_closed_too(kafka: str) -> None:
    async def run() -> None:
        client = AIOKafkaClient(**aiokafka_options(Settings(kafka=kafka)))
        await client.bootstrap()
        [node] = client.cluster.brokers()
        connect, release, made = aiokafka_client.create_conn, asyncio.Event(), list[Any]()

        async def connect_late(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - aiokafka's
            await release.wait()
            made.append(await connect(*arguments, **options))
            return made[0]

        aiokafka_client.create_conn = connect_late
        try:
            connecting = asyncio.create_task(client.ready(node.nodeId, group=1))
            await asyncio.sleep(0)
            await client.close()
            release.set()
            assert not await connecting
            [connection] = made
            await wait_until_async(lambda: not connection.connected(), "it is closed")
        finally:
            aiokafka_client.create_conn = connect

    asyncio.run(run())
