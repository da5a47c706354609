"""Clients that write: each makes its topic, uses every codec it has, and returns what was acknowledged."""
import asyncio
import os
import subprocess
import time

from broker import bound
from rows import load, row

RECORDS = 200
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
RSKAFKA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rskafka/target/debug/seedlog-rskafka")
# An hour ago: old enough to lie before every record with the clock's own time, young enough to be kept.
BASE = int(time.time() * 1000) - 3_600_000


def make(name, codec, i):
    """A record: key, value, headers, timestamp. Times repeat and run backwards within a batch."""
    stamp = BASE + (CODECS.index(codec) * RECORDS + i) // 3 * 10 + 25 * (i % 2)
    value = f"{name}-{codec}-{i}-".encode() + b"x" * (i % 300)
    return f"k{i % 17}".encode(), value, [("i", str(i).encode())], stamp


def create_topic(addr, name, partitions):
    from confluent_kafka.admin import AdminClient, NewTopic
    # Warnings, but not what librdkafka tells of an admin client's end.
    admin = AdminClient({"bootstrap.servers": addr, "log_level": 5})
    for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        future.result(30)


def write_confluent(addr):
    from confluent_kafka import Producer
    create_topic(addr, "confluent", 2)
    log = []
    for codec in CODECS:
        config = {"bootstrap.servers": addr, "enable.idempotence": True}
        producer = Producer({**config, "compression.type": codec, "linger.ms": 5})
        for i in range(RECORDS):
            k, v, h, t = make("confluent", codec, i)

            def done(error, m, k=k, v=v, h=h, t=t):
                assert error is None, error
                log.append(row(m.topic(), m.partition(), m.offset(), k, v, h, t))
            producer.produce("confluent", v, k, headers=h, timestamp=t, on_delivery=done)
        assert producer.flush(60) == 0, "records were left unacknowledged"
    return log


def write_kafka_python(addr):
    from kafka import KafkaProducer
    from kafka.admin import KafkaAdminClient, NewTopic
    admin = KafkaAdminClient(bootstrap_servers=addr)
    admin.create_topics([NewTopic("kafka-python", 2, 1)])
    admin.close()
    log = []
    for codec in CODECS:
        compression = None if codec == "none" else codec
        producer = KafkaProducer(bootstrap_servers=addr, compression_type=compression, acks="all", linger_ms=5)
        sent = []
        for i in range(RECORDS):
            k, v, h, t = make("kafka-python", codec, i)
            sent.append((producer.send("kafka-python", v, k, headers=h, timestamp_ms=t), k, v, h, t))
        producer.flush(60)
        for future, k, v, h, t in sent:
            m = future.get(60)
            log.append(row(m.topic, m.partition, m.offset, k, v, h, t))
        producer.close()
    return log


def write_aiokafka(addr):
    from aiokafka import AIOKafkaProducer
    create_topic(addr, "aiokafka", 2)

    async def write(codec):
        compression = None if codec == "none" else codec
        config = {"enable_idempotence": True, "linger_ms": 5}
        producer = AIOKafkaProducer(bootstrap_servers=addr, compression_type=compression, **config)
        await producer.start()
        sent, log = [], []
        for i in range(RECORDS):
            k, v, h, t = make("aiokafka", codec, i)
            sent.append((await producer.send("aiokafka", v, k, headers=h, timestamp_ms=t), k, v, h, t))
        for future, k, v, h, t in sent:
            m = await asyncio.wait_for(future, 60)
            log.append(row(m.topic, m.partition, m.offset, k, v, h, t))
        await producer.stop()
        return log
    return [acked for codec in CODECS for acked in asyncio.run(write(codec))]


def write_kcat(addr):
    log = []
    for codec in CODECS:
        records = [(f"k{i % 17}", f"kcat-{codec}-{i}-" + "x" * (i % 300)) for i in range(RECORDS)]
        lines = "".join(f"{key}:{value}\n" for key, value in records)
        subprocess.run(
            bound(["kcat", "-b", addr, "-P", "-t", "kcat", "-K:", "-H", "i=1", "-z", codec]),
            input=lines.encode(), check=True, timeout=120)
        # kcat prints neither offsets nor times of what it wrote: the one partition of a topic that the
        # first record makes, in order.
        for key, value in records:
            log.append(row("kcat", 0, len(log), key.encode(), value.encode(), [("i", b"1")], None))
    return log


def write_rskafka(addr):
    out = subprocess.run(bound([RSKAFKA, "write", addr, str(BASE)]), stdout=subprocess.PIPE, check=True, timeout=120)
    return load(out.stdout)


WRITERS = {
    "confluent": write_confluent,
    "kafka-python": write_kafka_python,
    "aiokafka": write_aiokafka,
    "kcat": write_kcat,
    "rskafka": write_rskafka,
}
