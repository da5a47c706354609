"""A clickstream of 100,000 events through Seedlog's own command line, read after a kill -9."""
import hashlib
import json
import os
import random
import signal
import subprocess

from broker import Broker, bound
from restarts import read
from rows import KEY, OFFSET, PARTITION, VALUE

EVENTS = 100_000
USERS = 5_000
PARTITIONS = 6
SEED = 20_240_229
TOPIC = "clickstream"
PAGES = ["/", "/suche", "/artikel/größentabelle", "/warenkorb", "/kasse", "/konto/bestellungen", "/hilfe/versand"]
KINDS = ["view", "view", "view", "click", "click", "scroll", "search", "add", "remove", "buy"]
AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 Version/17.2 Mobile/15E148",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:122.0) Gecko/20100101 Firefox/122.0",
]


def events():
    """The same events each time: (user, line)."""
    chance = random.Random(SEED)
    time = 1_700_000_000_000
    for number in range(EVENTS):
        # A few users do most of it, as on a real site: partitions of unequal size.
        user = f"user-{int(USERS * chance.random() ** 2):05}"
        time += chance.randrange(40)
        event = {
            "number": number,
            "user": user,
            "session": f"{chance.getrandbits(128):032x}",
            "trace": f"{chance.getrandbits(256):064x}",
            "time": time,
            "event": chance.choice(KINDS),
            "url": f"https://shop.example{chance.choice(PAGES)}?id={chance.randrange(10**9)}&utm={chance.getrandbits(64):x}",
            "referrer": f"https://www.example.org{chance.choice(PAGES)}?q={chance.getrandbits(96):x}",
            "agent": chance.choice(AGENTS),
            "position": [chance.randrange(2000), chance.randrange(9000)],
            "note": "ünïcode → ✓" if number % 7 == 0 else "",
        }
        yield user, json.dumps(event, ensure_ascii=False)


def write_file(path):
    stream = []
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for user, line in events():
            out.write(line + "\n")
            stream.append((user, line))
    return stream


def cli(broker, *arguments, **how):
    argv = [broker.binary, *arguments, "-b", broker.addr]
    return subprocess.run(bound(argv), check=True, timeout=240, **how)


def produce(broker, path):
    """The file's lines, each behind its user and a tab, go in as a person would pipe them."""
    cli(broker, "topic", "create", TOPIC, "--partitions", str(PARTITIONS), stdout=subprocess.DEVNULL)
    keyed = path + ".keyed"
    with open(path, encoding="utf-8", newline="\n") as lines, open(keyed, "w", encoding="utf-8", newline="\n") as out:
        for line in lines:
            out.write(json.loads(line)["user"] + "\t" + line)
    with open(keyed) as lines:
        done = cli(broker, "produce", TOPIC, "--key-separator", "\t", stdin=lines, stderr=subprocess.PIPE)
    assert done.stderr == f"{EVENTS} records acknowledged\n".encode(), done.stderr


def places(addr):
    """Where kafka-python puts each user in a topic of as many partitions: Kafka's own hash of the key."""
    from kafka import KafkaProducer
    from kafka.admin import KafkaAdminClient, NewTopic
    admin = KafkaAdminClient(bootstrap_servers=addr)
    admin.create_topics([NewTopic("places", PARTITIONS, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=addr, acks="all", linger_ms=20)
    users = [f"user-{number:05}" for number in range(USERS)]
    sent = [(user, producer.send("places", b"", user.encode())) for user in users]
    producer.flush(120)
    found = {user: future.get(60).partition for user, future in sent}
    producer.close()
    return found


def mistake(stream, place, parts):
    """What is wrong with {partition: [(user, line)]}, or None.

    Each partition must hold exactly the file's lines of its users, in the file's order: with that every
    event is there once, and a user in one partition.
    """
    wanted = {partition: [] for partition in range(PARTITIONS)}
    for user, line in stream:
        wanted[place[user]].append((user, line))
    for partition, lines in wanted.items():
        got = parts.get(partition, [])
        if got != lines:
            first = next((i for i, (a, b) in enumerate(zip(lines, got)) if a != b), min(len(lines), len(got)))
            return f"partition {partition}: {len(got)} of {len(lines)} events, the first difference at {first}"
    return None if set(parts) <= set(wanted) else f"partitions {sorted(parts)}"


def reject_doctored(stream, place, parts):
    part = parts[PARTITIONS - 1]
    n = len(part) // 2
    user, line = part[n]
    doctored = {
        "removed": part[:n] + part[n + 1:],
        "doubled": part[:n] + [part[n]] + part[n:],
        "swapped": part[:n] + [part[n + 1], part[n]] + part[n + 2:],
        "changed": part[:n] + [(user, line.replace("http", "HTTP", 1))] + part[n + 1:],
    }
    for how, bad in doctored.items():
        assert mistake(stream, place, {**parts, PARTITIONS - 1: bad}), f"an event {how} was not seen"
    # In its place in the file's order, but not in its user's partition.
    moved = {**parts, 0: [part[0], *parts[0]], PARTITIONS - 1: part[1:]}
    assert mistake(stream, place, moved), "an event in another partition was not seen"
    return len(doctored) + 1


def by_client(addr):
    """The partitions as kafka-python reads them."""
    parts = {}
    for r in read("kafka_python", addr):
        got = parts.setdefault(r[PARTITION], [])
        assert r[OFFSET] == len(got), f"offset {r[OFFSET]} after {len(got)} events"
        got.append((r[KEY], r[VALUE]))
    return parts


def by_cli(broker):
    """The partitions as `seedlog consume` prints them, byte for byte."""
    parts = {}
    for partition in range(PARTITIONS):
        where = ["--partition", str(partition), "--until-end"]
        plain = cli(broker, "consume", TOPIC, *where, stdout=subprocess.PIPE).stdout
        meta = cli(broker, "consume", TOPIC, *where, "--meta", stdout=subprocess.PIPE).stdout
        rows = [line.split(b"\t", 4) for line in meta.split(b"\n")[:-1]]
        assert b"".join(row[4] + b"\n" for row in rows) == plain, f"partition {partition}: --meta shows other values"
        assert [row[:2] for row in rows] == [[b"%d" % partition, b"%d" % i] for i in range(len(rows))]
        parts[partition] = [(row[3].decode(), row[4].decode()) for row in rows]
    return parts


def run(binary, folder):
    broker = Broker(binary, folder)
    path = broker.path("clicks.ndjson")
    stream = write_file(path)
    with open(path, "rb") as lines:
        digest = hashlib.sha256(lines.read()).hexdigest()
    print(f"   clickstream: {len(stream)} events, {os.path.getsize(path) / 1e6:.1f} MB, seed {SEED},"
          f" sha256 {digest[:16]}", flush=True)
    produce(broker, path)
    broker.restart(signal.SIGKILL)
    read_by = {"kafka-python": by_client(broker.addr), "seedlog consume": by_cli(broker)}
    # Only now: whoever reads above has to find the clickstream alone.
    place = places(broker.addr)
    rejected = 0
    for reader, parts in read_by.items():
        wrong = mistake(stream, place, parts)
        assert wrong is None, f"{reader}: {wrong}"
        rejected += reject_doctored(stream, place, parts)
    broker.stop(signal.SIGTERM)
    sizes = [len(read_by["kafka-python"][partition]) for partition in range(PARTITIONS)]
    print(f"   clickstream: by {' and '.join(read_by)} each partition in order, byte for byte: {sizes};"
          f" {rejected} doctored reads rejected", flush=True)
