"""One idempotent producer outlives 20 kill -9 of its broker; then another client reads what became of it."""
import collections
import json
import random
import signal
import time

from confluent_kafka import Producer

from broker import Broker
from restarts import read
from rows import KEY, OFFSET, PARTITION, VALUE, by_partition
from writers import create_topic

KILLS = 20
TRIES = 60
ACKS = 1000  # since the broker's start, before a kill counts
WINDOW = 1500  # records sent and not yet acknowledged
TOPIC, PARTITIONS = "kills", 4


class Sender:
    """The producer, what it was given to send, and what it was told of each record."""

    def __init__(self, addr):
        self.sent = []
        self.acked = {}
        self.wrong = []
        self.on_the_wire = 0
        self.connected = False
        self.producer = Producer({
            "bootstrap.servers": addr, "acks": "all", "enable.idempotence": True,
            # No record may fail for want of time, however slow the machine is.
            "message.timeout.ms": 900_000, "socket.timeout.ms": 60_000,
            # Small batches, so that many requests are on their way at once.
            "batch.num.messages": 40, "linger.ms": 1,
            "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20,
            "error_cb": self.failed, "stats_cb": self.counted, "statistics.interval.ms": 10,
            # Lost connections are what this is about; the client's log would tell of each.
            "log_level": 2,
        })

    def failed(self, error):
        if error.fatal():
            self.wrong.append(f"fatal: {error}")

    def counted(self, stats):
        """librdkafka's view of itself, every few milliseconds; its error events it does not all tell."""
        brokers = json.loads(stats)["brokers"].values()
        self.on_the_wire = sum(broker["waitresp_msg_cnt"] for broker in brokers)
        self.connected = any(broker["state"] == "UP" for broker in brokers)

    def waiting(self):
        return len(self.sent) - len(self.acked)

    def fill(self):
        while self.waiting() < WINDOW:
            number = len(self.sent)
            key, value = f"k{number % 97}", f"{number}-" + "x" * (number % 400)
            self.sent.append((key, value))
            self.producer.produce(TOPIC, value, key, on_delivery=lambda e, m, number=number: self.told(number, e, m))

    def told(self, number, error, m):
        """Any failed record fails the stage: with its timeouts a producer that retries need lose none."""
        if error is not None:
            self.wrong.append(f"record {number}: {error}")
        elif number in self.acked:
            self.wrong.append(f"record {number} was acknowledged twice")
        else:
            self.acked[number] = (m.partition(), m.offset())

    def poll_until(self, what, condition, keep_full, limit=120):
        """Serves the producer's callbacks until the condition holds; an error if it does not in time."""
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: not in {limit} s, {self.waiting()} records wait")
            if keep_full:
                self.fill()
            self.producer.poll(0.01)
            assert not self.wrong, self.wrong[:3]


def kill(broker, sender, enough):
    """Since the broker's start acknowledged; when it was killed on the wire; and in flight."""
    before = len(sender.acked)
    sender.poll_until("acknowledgements", lambda: len(sender.acked) - before >= enough, keep_full=True)
    # librdkafka's own count of records that are sent and wait for an answer, as of now.
    sender.on_the_wire = 0
    sender.poll_until("a request on the wire", lambda: sender.on_the_wire > 0, keep_full=True)
    acks, on_the_wire = len(sender.acked) - before, sender.on_the_wire
    broker.stop(signal.SIGKILL)
    sender.connected = True
    # Answers that the broker had sent still count as such; what is left once the client has seen the
    # connection break was in flight.
    sender.poll_until("a broken connection", lambda: not sender.connected, keep_full=False)
    return acks, on_the_wire, sender.waiting()


def complaints(sent, acked, rows):
    """What is wrong with the rows, in one word each."""
    wrong = set()
    numbers = [int(r[VALUE].partition("-")[0]) for r in rows]
    for r, number in zip(rows, numbers):
        if not (0 <= number < len(sent) and sent[number] == (r[KEY], r[VALUE])):
            wrong.add("never sent")
        elif acked.get(number) != (r[PARTITION], r[OFFSET]):
            wrong.add("moved")
    if any(count > 1 for count in collections.Counter(numbers).values()):
        wrong.add("doubled")
    if set(acked) - set(numbers):
        wrong.add("lost")
    for part in by_partition(rows).values():
        order = [(r[OFFSET], int(r[VALUE].partition("-")[0])) for r in part]
        if any(a[0] >= b[0] or a[1] >= b[1] for a, b in zip(order, order[1:])):
            wrong.add("order")
    return wrong


def reject_doctored(sent, acked, rows):
    """The checker must see each way of being wrong, and for what it is."""
    n = len(rows) // 2
    a, b = rows[n:n + 2]
    assert a[PARTITION] == b[PARTITION], "the middle of the rows lies between partitions"
    end = rows[-1]
    doctored = {
        "lost": rows[:n] + rows[n + 1:],
        "doubled": rows + [[*end[:OFFSET], end[OFFSET] + 1, *end[KEY:]]],
        "order": rows[:n] + [a[:KEY] + b[KEY:], b[:KEY] + a[KEY:]] + rows[n + 2:],
        "never sent": rows[:n] + [[*a[:VALUE], a[VALUE] + "y", *a[VALUE + 1:]]] + rows[n + 1:],
    }
    for word, bad in doctored.items():
        found = complaints(sent, acked, bad)
        assert word in found, f"doctored rows ({word}) were taken for {found}"
    return len(doctored)


def run(binary, folder):
    # Printed, so that the moments of a failing run are known.
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    broker = Broker(binary, folder)
    create_topic(broker.addr, TOPIC, PARTITIONS)
    sender = Sender(broker.addr)
    counted, idle = [], 0
    print(f"   kills: seed {seed}", flush=True)
    while len(counted) < KILLS:
        acks, on_the_wire, in_flight = kill(broker, sender, ACKS + moments.randrange(500))
        broker.start()
        if in_flight > 0:
            counted.append((acks, on_the_wire, in_flight))
        else:
            idle += 1
        assert idle + len(counted) < TRIES, f"of {TRIES} kills only {len(counted)} found a record in flight"
    sender.poll_until("every acknowledgement", lambda: sender.waiting() == 0, keep_full=False)
    left = sender.producer.flush(120)
    assert left == 0 and not sender.wrong, (left, sender.wrong[:3])
    rows = read("kafka_python", broker.addr)
    wrong = complaints(sender.sent, sender.acked, rows)
    assert not wrong, f"seed {seed}: {sorted(wrong)}: {len(rows)} read, {len(sender.acked)} acknowledged"
    rejected = reject_doctored(sender.sent, sender.acked, rows)
    broker.stop(signal.SIGTERM)
    acks, on_the_wire, in_flight = (min(column) for column in zip(*counted))
    print(f"   kills: {len(counted)} counted and {idle} with nothing in flight; since each start at least {acks}"
          f" acknowledged; just before each kill at least {on_the_wire} on the wire, after it {in_flight}"
          f" unanswered; {len(sender.sent)} sent, all acknowledged, {len(rows)} read; {rejected} doctored reads rejected", flush=True)
