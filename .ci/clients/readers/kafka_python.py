"""kafka-python."""
import time

from kafka import KafkaConsumer, TopicPartition

from rows import row

LIMIT = 120


class Reader:
    def __init__(self, addr, wait_ms):
        config = {"enable_auto_commit": False, "auto_offset_reset": "none", "fetch_max_wait_ms": wait_ms}
        self.consumer = KafkaConsumer(bootstrap_servers=addr, **config)

    def close(self):
        self.consumer.close()

    def partitions(self):
        topics = self.consumer.topics()
        return sorted((topic, partition) for topic in topics for partition in self.consumer.partitions_for_topic(topic))

    def next(self):
        """At least one record, in order."""
        limit = time.monotonic() + LIMIT
        while time.monotonic() < limit:
            for batch in self.consumer.poll(1000).values():
                return [row(m.topic, m.partition, m.offset, m.key, m.value, m.headers, m.timestamp) for m in batch]
        raise TimeoutError("no record")

    def everything(self):
        for topic, partition in self.partitions():
            at = TopicPartition(topic, partition)
            self.consumer.assign([at])
            self.consumer.seek_to_beginning(at)
            end = self.consumer.end_offsets([at])[at]
            while self.consumer.position(at) < end:
                yield from self.next()

    def from_time(self, topic, partition, time):
        at = TopicPartition(topic, partition)
        self.consumer.assign([at])
        found = self.consumer.offsets_for_times({at: time})[at]
        if found is None:
            return None, None
        self.consumer.seek(at, found.offset)
        return found.offset, self.next()[0]

    def tail(self, topic, partition, reached):
        at = TopicPartition(topic, partition)
        self.consumer.assign([at])
        self.consumer.seek_to_end(at)
        reached(self.consumer.position(at))
        return self.next()[0]
