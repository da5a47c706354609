"""Every writer's records, read by every reader after SIGTERM and after kill -9."""
import json
import os
import signal
import subprocess
import sys

from broker import Broker, bound, wait_until
from rows import OFFSET, asks, by_partition, difference, doctored, judge_time, load, row
from writers import RSKAFKA, WRITERS, create_topic

HERE = os.path.dirname(os.path.abspath(__file__))
READERS = ["confluent", "kafka_python", "aiokafka", "kcat", "rskafka"]
TAIL = "tail"
LIMIT = 240


def command(reader, verb, addr, *rest):
    """A fresh process each time: nothing a client remembers can stand in for what the broker kept."""
    program = [RSKAFKA] if reader == "rskafka" else [sys.executable, os.path.join(HERE, "read.py"), reader]
    return bound([*program, verb, addr, *map(str, rest)])


def read(reader, addr):
    out = subprocess.run(command(reader, "read", addr), stdout=subprocess.PIPE, check=True, timeout=LIMIT)
    return load(out.stdout)


def compare(reader, log, rows):
    wrong = difference(log, rows)
    assert wrong is None, f"{reader}: {wrong}"
    for how, bad in doctored(log).items():
        assert difference(bad, rows) is not None, f"{reader}: a record {how} in the log was not seen"


def from_times(reader, addr, rows):
    """Asks for reading from timestamps, and counts them: every one must be answered exactly."""
    asked = asks(rows)
    questions = "".join(json.dumps(ask) + "\n" for ask in asked).encode()
    out = subprocess.run(
        command(reader, "times", addr), input=questions, stdout=subprocess.PIPE, check=True, timeout=LIMIT)
    got = load(out.stdout)
    assert [answer[:3] for answer in got] == asked, f"{reader}: {len(got)} answers to {len(asked)} timestamps"
    parts = by_partition(rows)
    for topic, partition, time, found, first in got:
        part = parts[topic, partition]
        why = judge_time(part, time, found, first)
        assert why is None, f"{reader}: {topic} {partition}: {why}"
        for other in (found - 1, found + 1) if found is not None else (0,):
            assert judge_time(part, time, other, other), f"{reader}: {topic} {partition}: {other} was taken for {found}"
    return len(got)


class TailTopic:
    """A topic whose next record is written only when a reader is known to wait at the end."""

    def __init__(self, addr):
        create_topic(addr, TAIL, 2)
        self.ends = [0, 0]
        self.made = 0
        self.log = []
        for _ in range(6):
            self.write(addr, self.made % 2)

    def write(self, addr, partition):
        from confluent_kafka import Producer
        producer = Producer({"bootstrap.servers": addr, "enable.idempotence": True})
        value, headers, acked = f"tail-{self.made}".encode(), [("i", str(self.made).encode())], []

        def done(error, m):
            assert error is None, error
            acked.append(row(TAIL, m.partition(), m.offset(), b"k", value, headers, m.timestamp()[1]))
        producer.produce(TAIL, value, b"k", partition, headers=headers, on_delivery=done)
        assert producer.flush(60) == 0, "a record was left unacknowledged"
        assert acked[0][OFFSET] == self.ends[partition], f"not at the end {self.ends}: {acked}"
        self.made += 1
        self.ends[partition] += 1
        self.log += acked
        return acked[0]

    def watch(self, reader, addr, path):
        """The reader says where the end is, then sees the record that is written there, and no other."""
        partition = self.made % 2
        end = self.ends[partition]
        with open(path, "wb") as out:
            process = subprocess.Popen(command(reader, "tail", addr, TAIL, partition), stdout=out)

        def lines(count):
            with open(path) as out:
                found = [line for line in out if line.endswith("\n")]
            if len(found) < count and process.poll() is not None:
                raise RuntimeError(f"{reader} at the tail ended with {process.returncode} after {found}")
            return found if len(found) >= count else None
        try:
            at = wait_until(f"{reader} reaching the tail", lambda: lines(1), LIMIT)
            assert [json.loads(line) for line in at] == [end], f"{reader}: the tail is at {end}, not at {at}"
            written = self.write(addr, partition)
            code = process.wait(LIMIT)
            seen = [json.loads(line) for line in lines(2)[1:]]
            assert code == 0 and seen == [written], f"{reader} ended with {code}, saw {seen}, not {written}"
        finally:
            process.kill()


def run(binary, folder):
    broker = Broker(binary, folder)
    log = []
    for name, write in WRITERS.items():
        part = write(broker.addr)
        print(f"   {name}: {len(part)} records acknowledged", flush=True)
        log += part
    tail = TailTopic(broker.addr)
    compared = tails = times = 0
    for sig in (signal.SIGTERM, signal.SIGKILL):
        broker.restart(sig)
        for reader in READERS:
            rows = read(reader, broker.addr)
            compare(f"{reader} after {sig.name}", log + tail.log, rows)
            compared += len(rows)
            times += from_times(reader, broker.addr, rows)
            tail.watch(reader, broker.addr, broker.path("tail"))
            tails += 1
    broker.stop(signal.SIGTERM)
    print(f"   {len(WRITERS)} writers, {len(READERS)} readers, SIGTERM and SIGKILL: {compared} records compared,"
          f" {tails} records seen at the tail; {times} timestamps answered exactly", flush=True)
