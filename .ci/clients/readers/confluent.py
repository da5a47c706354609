"""librdkafka, through confluent-kafka."""
import time

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, TopicPartition

from rows import row

LIMIT = 120


class Reader:
    def __init__(self, addr, wait_ms):
        self.consumer = Consumer({
            "bootstrap.servers": addr,
            # librdkafka wants a group's name even where nothing of a group is used.
            "group.id": "none", "enable.auto.commit": False,
            "enable.partition.eof": True, "auto.offset.reset": "error", "fetch.wait.max.ms": wait_ms,
        })

    def close(self):
        self.consumer.close()

    def partitions(self):
        topics = self.consumer.list_topics(timeout=30).topics
        return sorted((topic, partition) for topic, meta in topics.items() for partition in meta.partitions)

    def next(self):
        """The next record, or the offset at which the partition ends."""
        limit = time.monotonic() + LIMIT
        while time.monotonic() < limit:
            m = self.consumer.poll(1)
            if m is None:
                continue
            if m.error() is None:
                return row(m.topic(), m.partition(), m.offset(), m.key(), m.value(), m.headers(), m.timestamp()[1])
            if m.error().code() == KafkaError._PARTITION_EOF:
                return m.offset()
            raise RuntimeError(m.error())
        raise TimeoutError("neither a record nor the end")

    def everything(self):
        for topic, partition in self.partitions():
            self.consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
            while isinstance(found := self.next(), list):
                yield found

    def from_time(self, topic, partition, time):
        at = self.consumer.offsets_for_times([TopicPartition(topic, partition, time)], timeout=30)[0]
        if at.error is not None:
            raise RuntimeError(at.error)
        if at.offset == OFFSET_END:
            return None, None
        self.consumer.assign([TopicPartition(topic, partition, at.offset)])
        found = self.next()
        return at.offset, found if isinstance(found, list) else None

    def tail(self, topic, partition, reached):
        self.consumer.assign([TopicPartition(topic, partition, OFFSET_END)])
        reached(self.next())
        while not isinstance(found := self.next(), list):
            pass
        return found
