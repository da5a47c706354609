"""aiokafka: its loop is turned from outside, one step for each call."""
import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from rows import row

LIMIT = 120


class Reader:
    def __init__(self, addr, wait_ms):
        self.addr = addr
        self.loop = asyncio.new_event_loop()
        self.consumer = self.run(self.start(addr, wait_ms))

    async def start(self, addr, wait_ms):
        config = {"enable_auto_commit": False, "auto_offset_reset": "none", "fetch_max_wait_ms": wait_ms}
        consumer = AIOKafkaConsumer(bootstrap_servers=addr, **config)
        await consumer.start()
        return consumer

    def run(self, step):
        return self.loop.run_until_complete(asyncio.wait_for(step, LIMIT))

    def close(self):
        self.run(self.consumer.stop())
        self.loop.close()

    async def describe(self):
        # The consumer itself names all topics, but knows only its own topics' partitions.
        admin = AIOKafkaAdminClient(bootstrap_servers=self.addr)
        await admin.start()
        topics = await admin.describe_topics()
        await admin.close()
        return topics

    def partitions(self):
        topics = self.run(self.describe())
        return sorted((topic["topic"], part["partition"]) for topic in topics for part in topic["partitions"])

    async def assign(self, at):
        self.consumer.assign([at])  # needs a running loop

    def next(self):
        m = self.run(self.consumer.getone())
        return row(m.topic, m.partition, m.offset, m.key, m.value, m.headers, m.timestamp)

    def everything(self):
        for topic, partition in self.partitions():
            at = TopicPartition(topic, partition)
            self.run(self.assign(at))
            self.run(self.consumer.seek_to_beginning(at))
            end = self.run(self.consumer.end_offsets([at]))[at]
            while self.run(self.consumer.position(at)) < end:
                yield self.next()

    def from_time(self, topic, partition, time):
        at = TopicPartition(topic, partition)
        self.run(self.assign(at))
        found = self.run(self.consumer.offsets_for_times({at: time}))[at]
        if found is None:
            return None, None
        self.consumer.seek(at, found.offset)
        return found.offset, self.next()

    def tail(self, topic, partition, reached):
        at = TopicPartition(topic, partition)
        self.run(self.assign(at))
        self.run(self.consumer.seek_to_end(at))
        reached(self.run(self.consumer.position(at)))
        return self.next()
