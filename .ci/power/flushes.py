"""Flushes of the device per acknowledgement, by the kernel's own count (/sys/dev/block/*/stat).

flushes.py BROKER            check the bounds
flushes.py BROKER --table    print the shape at 1, 100 and 5,000 partitions

One produce in flight: 1.0 to 1.2 flushes per acknowledgement. A request over 5,000 partitions: at most
twice the flushes of a request to one, at the same number of requests, checkpoints included. Others on
this machine only add to the count.
"""
import os
import signal
import sys
import tempfile
import time

import power
import wire

RUNS = 5
SHAPES = [1, 100, 5000]
MANY = 40  # requests of a run for the shapes


def counter(path):
    """The device's statistics file for the file system that holds `path`."""
    number = os.stat(path).st_dev
    device = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if os.path.exists(os.path.join(device, "partition")):
        device = os.path.dirname(device)
    stat = os.path.join(device, "stat")
    return stat if os.path.exists(stat) else None


def on_a_device():
    """A folder on a block device: the temporary one, or the build's."""
    for folder in (tempfile.gettempdir(), "target"):
        if os.path.isdir(folder) and counter(folder):
            return folder
    raise AssertionError("no folder on a block device to count flushes of; set TMPDIR to one")


def flushes(stat):
    with open(stat) as numbers:
        return int(numbers.read().split()[15])


def acknowledged(reader, partitions):
    answers = wire.produced(reader)
    assert [(index, error) for index, error, _ in answers] == [(index, 0) for index in range(partitions)], answers[:3]


def measure(client, stat, topic, partitions, size, requests, in_flight=1):
    """(flushes, seconds) of this many requests."""
    request = wire.produce(topic, [b"x" * size], range(partitions))
    before, began, sent = flushes(stat), time.time(), 0
    for answered in range(requests):
        while sent < min(requests, answered + in_flight):
            client.send(request)
            sent += 1
        acknowledged(client.receive()[1], partitions)
    return flushes(stat) - before, time.time() - began


def with_broker(binary, options, job):
    """Run `job(client, stat)` against a fresh broker."""
    with tempfile.TemporaryDirectory(dir=on_a_device()) as work:
        work = os.path.abspath(work)
        data = os.path.join(work, "data")
        os.mkdir(data)
        stat = counter(data)
        process, port = power.start(binary, data, os.path.join(work, "log"), options=options)
        try:
            client = wire.Client(port)
            for shape in SHAPES:
                assert wire.topic_error(client.call(wire.create(f"of-{shape}", shape))) == 0
            job(client, stat)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)


def counts(client, stat):
    """The bounds that must hold, on one shard: a request is then one turn."""
    one = min(measure(client, stat, "of-1", 1, 100, 200) for _ in range(RUNS))[0] / 200
    print(f"   one produce in flight: {one:.3f} flushes per acknowledgement", flush=True)
    assert 1.0 <= one <= 1.2, "not every acknowledgement has its flush, or some have more"
    found = {}
    for shape in SHAPES:
        runs = [measure(client, stat, f"of-{shape}", shape, 100, MANY)[0] for _ in range(RUNS)]
        found[shape] = sum(runs)
        print(f"   {RUNS * MANY} requests to {shape} partitions: {found[shape]} flushes ({runs})", flush=True)
    assert RUNS * MANY <= found[5000] <= 2 * found[1], "5,000 partitions take more than twice the flushes of one"


def table(client, stat):
    """What the module docs of core/src/shard/journaling.rs show: 1 KiB a batch, 8 requests in flight."""
    print("   partitions  batches/s    MB/s  batches per flush")
    for shape in SHAPES:
        requests = max(40, 20_000 // shape)
        runs = [measure(client, stat, f"of-{shape}", shape, 1024, requests, 8) for _ in range(3)]
        counted, seconds = sorted(runs, key=lambda run: run[1])[1]
        rate = requests * shape / seconds
        print(f"   {shape:10} {rate:10.0f} {rate * 1024 / 1e6:7.1f} {requests * shape / counted:18.1f}", flush=True)


if __name__ == "__main__":
    broker = os.path.abspath(sys.argv[1])
    if "--table" in sys.argv:
        with_broker(broker, [], table)
    else:
        with_broker(broker, ["--shards", "1"], counts)
