"""The peer of live streams: Temporal's own workflow streams, with the same model behind an activity.

`python -m benchmarks.stream_peer ADDRESS NAMESPACE` is a worker in a process of its own. A workflow hosts the stream,
its activity reads the model over plain sockets and publishes each token; a subscriber polls. A publish that forces a
flush is left out: with one as the last publish the publisher's end hangs on CPython 3.11.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.contrib.workflow_streams import WorkflowStream, WorkflowStreamClient
from temporalio.worker import Worker

from server.long_lived import run

QUEUE = "stream-peer"
TOPIC = "tokens"


@dataclass
class Talk:
    """What is asked of the model, and how its tokens travel: milliseconds between flushes and between polls."""

    port: int
    task: str
    batch_ms: int
    cooldown_ms: int


async def tokens(port: int, task: str) -> AsyncGenerator[str]:
    """Yield the tokens of the model as they come."""
    body = json.dumps({"messages": [{"role": "user", "content": task}]}).encode()
    reading, writing = await asyncio.open_connection("127.0.0.1", port)
    try:
        writing.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        async for line in reading:
            if line.startswith(b"data: {"):
                choices = json.loads(line[6:])["choices"]
                if choices and (text := choices[0]["delta"].get("content")):
                    yield text
    finally:
        writing.close()


@activity.defn
async def speak(talk: Talk) -> None:
    """Publish what the model says."""
    client = WorkflowStreamClient.from_within_activity(batch_interval=timedelta(milliseconds=talk.batch_ms))
    topic = client.topic(TOPIC, type=str)
    async with client:
        async for text in tokens(talk.port, talk.task):
            topic.publish(text)


@workflow.defn
class StreamWorkflow:
    """Hosts the stream of one talk."""

    @workflow.init
    def __init__(self, talk: Talk) -> None:
        """Open the stream."""
        self.stream = WorkflowStream()

    @workflow.run
    async def run(self, talk: Talk) -> None:
        """Have the model speak."""
        await workflow.execute_activity(speak, talk, start_to_close_timeout=timedelta(minutes=10))


async def heard(client: Client, workflow_id: str, talk: Talk) -> AsyncGenerator[str]:
    """Yield the tokens of a talk as a subscriber gets them."""
    stream = WorkflowStreamClient.create(client, workflow_id)
    cooldown = timedelta(milliseconds=talk.cooldown_ms)
    async for item in stream.subscribe([TOPIC], result_type=str, poll_cooldown=cooldown):
        yield item.data


async def work(address: str, namespace: str) -> None:
    """Work until killed."""
    client = await Client.connect(address, namespace=namespace)
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[StreamWorkflow],
        activities=[speak],
        max_concurrent_activities=200,
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(work(sys.argv[1], sys.argv[2]))
