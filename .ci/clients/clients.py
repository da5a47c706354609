"""Real clients write; a different client in a fresh process reads it back after SIGTERM and kill -9.

clients.py BROKER             run everything
clients.py --read NAME ADDR   print what this client reads of every topic, as JSON lines
"""
import asyncio, atexit, json, os, signal, socket, subprocess, sys, tempfile, time

RECORDS = 200
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def row(topic, partition, offset, key, value, headers):
    text = lambda b: None if b is None else bytes(b).decode()
    return [topic, partition, offset, text(key), text(value), [[k, text(v)] for k, v in headers or []]]


def make(name, codec, i):
    return f"k{i % 17}".encode(), f"{name}-{codec}-{i}-".encode() + b"x" * (i % 300), [("i", str(i).encode())]


def write_confluent(addr):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic
    admin = AdminClient({"bootstrap.servers": addr})
    for f in admin.create_topics([NewTopic("confluent", 2, 1)]).values():
        f.result(20)
    log = []
    for codec in CODECS:
        p = Producer({"bootstrap.servers": addr, "enable.idempotence": True, "compression.type": codec, "linger.ms": 5})
        for i in range(RECORDS):
            k, v, h = make("confluent", codec, i)
            def done(err, m, k=k, v=v, h=h):
                assert err is None, err
                log.append(row(m.topic(), m.partition(), m.offset(), k, v, h))
            p.produce("confluent", v, k, headers=h, on_delivery=done)
        assert p.flush(30) == 0
    return log


def write_kafka_python(addr):
    from kafka import KafkaProducer
    from kafka.admin import KafkaAdminClient, NewTopic
    admin = KafkaAdminClient(bootstrap_servers=addr)
    admin.create_topics([NewTopic("kafka-python", 2, 1)])
    admin.close()
    log = []
    for codec in CODECS:
        p = KafkaProducer(bootstrap_servers=addr, compression_type=None if codec == "none" else codec, acks="all", linger_ms=5)
        sent = []
        for i in range(RECORDS):
            k, v, h = make("kafka-python", codec, i)
            sent.append((p.send("kafka-python", v, k, headers=h), k, v, h))
        p.flush(30)
        for f, k, v, h in sent:
            m = f.get(30)
            log.append(row(m.topic, m.partition, m.offset, k, v, h))
        p.close()
    return log


def write_aiokafka(addr):
    from aiokafka import AIOKafkaProducer
    async def go():
        log = []
        for codec in CODECS:
            p = AIOKafkaProducer(bootstrap_servers=addr, compression_type=None if codec == "none" else codec, enable_idempotence=True, linger_ms=5)
            await p.start()
            sent = []
            for i in range(RECORDS):
                k, v, h = make("aiokafka", codec, i)
                sent.append((await p.send("aiokafka", v, k, headers=h), k, v, h))
            for f, k, v, h in sent:
                m = await f
                log.append(row(m.topic, m.partition, m.offset, k, v, h))
            await p.stop()
        return log
    return asyncio.run(go())


def write_kcat(addr):
    lines = "".join(f"k{i}:kcat-{i}\n" for i in range(RECORDS))
    subprocess.run(["kcat", "-b", addr, "-P", "-t", "kcat", "-K:", "-H", "i=1"], input=lines.encode(), check=True, timeout=60)
    # kcat prints no offsets for what it produced: one partition, in order.
    return [row("kcat", 0, i, f"k{i}".encode(), f"kcat-{i}".encode(), [("i", b"1")]) for i in range(RECORDS)]


def read_confluent(addr):
    from confluent_kafka import Consumer, TopicPartition
    c = Consumer({"bootstrap.servers": addr, "group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    rows = []
    for topic, meta in sorted(c.list_topics(timeout=20).topics.items()):
        for partition in meta.partitions:
            at = TopicPartition(topic, partition, 0)
            end = c.get_watermark_offsets(at, timeout=20)[1]
            c.assign([at])
            count, limit = 0, time.time() + 60
            while count < end:
                assert time.time() < limit, (topic, partition, count, end)
                m = c.poll(1)
                if m is None:
                    continue
                assert m.error() is None, m.error()
                rows.append(row(topic, partition, m.offset(), m.key(), m.value(), m.headers()))
                count += 1
            if end:
                # From a timestamp: never later than the first record that is as young.
                found = c.offsets_for_times([TopicPartition(topic, partition, m.timestamp()[1])], timeout=20)[0].offset
                assert 0 <= found <= m.offset(), (topic, partition, found, m.offset())
                # At the tail there is nothing.
                c.assign([TopicPartition(topic, partition, end)])
                assert c.poll(0.3) is None
    c.close()
    return rows


def read_kafka_python(addr):
    from kafka import KafkaConsumer, TopicPartition
    c = KafkaConsumer(bootstrap_servers=addr, enable_auto_commit=False)
    rows = []
    for topic in sorted(c.topics()):
        for partition in sorted(c.partitions_for_topic(topic)):
            at = TopicPartition(topic, partition)
            c.assign([at])
            c.seek_to_beginning(at)
            end = c.end_offsets([at])[at]
            limit = time.time() + 60
            while c.position(at) < end:
                assert time.time() < limit, (topic, partition, end)
                for batch in c.poll(500).values():
                    rows += [row(topic, partition, m.offset, m.key, m.value, m.headers) for m in batch]
    c.close()
    return rows


READERS = {"confluent": read_confluent, "kafka-python": read_kafka_python}
WRITERS = {"confluent": write_confluent, "kafka-python": write_kafka_python, "aiokafka": write_aiokafka, "kcat": write_kcat}


def same(log, rows):
    """Every acknowledged record is there once, at its offset, in order, with its bytes."""
    return sorted(log, key=lambda r: r[:3]) == rows


class Broker:
    def __init__(self, binary, data):
        self.binary, self.data = binary, data
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.addr = f"127.0.0.1:{self.port}"
        self.start()

    def start(self):
        self.p = subprocess.Popen([self.binary, "dev", "--port", str(self.port), "--data", self.data], stdout=subprocess.PIPE)
        atexit.register(self.p.kill)  # a failing comparison must not leave a broker behind
        assert b"ready" in self.p.stdout.readline(), "the broker did not start"

    def stop(self, sig):
        self.p.send_signal(sig)
        code = self.p.wait(30)
        assert code == (0 if sig == signal.SIGTERM else -sig), code


def main(binary):
    with tempfile.TemporaryDirectory() as data:
        broker, log = Broker(binary, data), []
        for name, write in WRITERS.items():
            part = write(broker.addr)
            print(f"   {name}: {len(part)} records acknowledged", flush=True)
            log += part
        checked = 0
        for sig in (signal.SIGTERM, signal.SIGKILL):
            broker.stop(sig)
            broker.start()
            for reader in READERS:
                out = subprocess.run([sys.executable, __file__, "--read", reader, broker.addr], stdout=subprocess.PIPE, check=True, timeout=300)
                rows = [json.loads(line) for line in out.stdout.splitlines()]
                assert same(log, rows), f"{reader} after {sig.name}: {len(rows)} rows, {len(log)} acknowledged"
                n = len(log) // 2
                assert not same(log[:n] + log[n + 1:], rows), "a removed record was not seen"
                assert not same(log + [log[n]], rows), "a doubled record was not seen"
                swapped = [list(r) for r in log]
                swapped[n][4], swapped[n + 1][4] = swapped[n + 1][4], swapped[n][4]
                assert not same(swapped, rows), "swapped records were not seen"
                checked += len(rows)
        broker.stop(signal.SIGTERM)
        print(f"   {len(WRITERS)} writers, {len(READERS)} readers, {checked} records compared")


if __name__ == "__main__":
    if sys.argv[1] == "--read":
        for r in READERS[sys.argv[2]](sys.argv[3]):
            print(json.dumps(r))
    else:
        main(os.path.abspath(sys.argv[1]))
