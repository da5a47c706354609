"""Power cuts on the real broker.

power.py BROKER [--images N] [--seed N]

Records every file system call of a broker under load, builds the disks that a power cut at the very
moment of an answer may leave, starts the broker on each, and looks for everything that had been
promised by then. The same at every moment of a start that moves partitions to another number of
shards. And on a topic that opted out of syncing it must lose records: else this harness sees nothing.
"""
import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

import disk
import promises
import trace
import wire

PARTITIONS = 4
# A ring that wraps often, so that cuts fall into write-behind, manifests and reuse.
RING = ["--journal-initial-bytes", "262144", "--journal-max-bytes", "1048576"]
SHARDS = 2

# Images need no device: where they lie in memory, many fit into a minute.
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
SMALL_SEGMENTS = [("internal.segment.bytes", "100000")]


def with_shards(count):
    return ["--shards", str(count), *RING]


def start(binary, data, log, before=(), options=tuple(with_shards(SHARDS))):
    """A broker on a port of its choice: (process, port)."""
    command = [*before, binary, "dev", "--port", "0", "--data", data, *options]
    with open(log + ".err", "wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=os.path.dirname(data))
    line = process.stdout.readline().decode()
    if "ready on" not in line:
        process.kill()
        process.wait()
        with open(log + ".err", "rb") as errors:
            raise AssertionError(f"it did not start: {errors.read().decode()[-500:]}")
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return process, int(line.split("ready on ")[1].split(",")[0].rsplit(":", 1)[1])


def record(binary, data, log, load, shards=SHARDS):
    """Run a broker under strace, and `load(port)` on it, then kill it: the trace's events, and what the load returned."""
    process, port = start(binary, data, log, [*trace.COMMAND, "-o", log], with_shards(shards))
    try:
        told = load(port)
    finally:
        # The broker itself, not strace, which goes with it.
        subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)
        process.wait(60)
    events = trace.read(log)
    disk.settle(events, data)
    return events, told


def produced(topic, configs, rounds, seed):
    """A load: create a topic and use it; returns what was promised."""
    def load(port):
        error = wire.topic_error(wire.Client(port).call(wire.create(topic, PARTITIONS, configs)))
        assert error == 0, f"create {topic}: error {error}"
        return promises.Load(port, topic, PARTITIONS, seed, rounds).run()
    return load


def lay_out(image, root, to):
    for path, content in image.items():
        path = to + path[len(root):]
        if content is None:
            os.makedirs(path, exist_ok=True)
        else:
            with open(path, "wb") as file:
                file.write(content)


def read_back(port, topic):
    client, records = wire.Client(port), {}
    names = wire.topics(client.call(wire.metadata()))
    for partition in range(PARTITIONS if topic in names else 0):
        offset, end = 0, 1
        while offset < end:
            error, end, found = wire.fetched(client.call(wire.fetch(topic, partition, offset, 0)))
            assert error == 0, f"fetch {partition}@{offset}: error {error}"
            if not found and offset < end:
                raise AssertionError(f"partition {partition}: nothing at {offset}, below the end {end}")
            records.update(((partition, row[0]), row[1]) for row in found)
            offset = found[-1][0] + 1 if found else end
    client.close()
    return records, names


def judge(binary, image, root, topic, owed, shards):
    """Start the broker on an image: (what is missing there or None, whether it warned of losses)."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as work:
        data, log = os.path.join(work, "data"), os.path.join(work, "log")
        os.mkdir(data)
        lay_out(image, root, data)
        try:
            process, port = start(binary, data, log, options=with_shards(shards))
        except AssertionError as failure:
            return str(failure), False
        try:
            missing = owed.missing(*read_back(port, topic))
            with open(log + ".err", "rb") as errors:
                return missing, b"opted out of syncing" in errors.read()
        except Exception as failure:  # a broker that hangs or answers nonsense has lost what it owes
            return repr(failure), False
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)


class Cuts:
    """Images of one recorded run, drawn from a seed, judged by two threads."""

    def __init__(self, binary, topic, events, promised, root, seed):
        self.promised, self.root = promised, root
        self.binary, self.topic, self.seed = binary, topic, seed
        self.model = disk.Model(events, self.root)
        self.departed = promises.departures(events)
        self.lock = threading.Lock()
        self.drawn = self.images = self.skipped = 0
        self.styles = collections.Counter()
        self.lost = []

    def check_model(self):
        """Everything the trace did, applied, is the folder as it is: else the images mean nothing."""
        image, _ = self.model.cut(1 << 61, None, "whole")
        for path, content in image.items():
            if content is not None:
                with open(path, "rb") as file:
                    there = file.read()
                assert there == content, f"the model has another {path}: {self.model.difference(path, content, there)}"
        there = {os.path.join(at, name) for at, folders, names in os.walk(self.root) for name in folders + names}
        assert there == set(image), f"model and folder differ in {there ^ set(image)}"
        known = {correlation for _, correlation in self.departed}
        assert set(self.promised) <= known, "an answer that a client got does not stand in the trace"

    def points(self):
        """Moments when an answer with a promise leaves."""
        return [event.start for event, correlation in self.departed if correlation in self.promised]

    def shards(self, _number):
        """How many shards the broker is to have on an image."""
        return SHARDS

    def draw(self, number, points):
        choice = random.Random(f"{self.seed}.{number}")
        at = choice.choice(points)
        style = disk.STYLES[number % len(disk.STYLES)]
        image, unsynced = self.model.cut(at, choice, style)
        whole, _ = self.model.cut(at, choice, "whole")
        departed = [correlation for event, correlation in self.departed if event.start <= at]
        changed = unsynced > 0 and image != whole
        return image, style, changed, promises.Owed(self.promised, departed)

    def work(self, count, points):
        while True:
            with self.lock:
                if self.images >= count or self.drawn > 20 * count:
                    return
                number, self.drawn = self.drawn, self.drawn + 1
            image, style, changed, owed = self.draw(number, points)
            if not changed:
                with self.lock:
                    self.skipped += 1
                continue
            missing, warned = judge(self.binary, image, self.root, self.topic, owed, self.shards(number))
            with self.lock:
                self.images += 1
                self.styles[style] += 1
                if missing:
                    self.lost.append((number, style, missing, warned))

    def run(self, count):
        points = self.points()
        assert len(points) >= count, f"only {len(points)} moments to cut at"
        threads = [threading.Thread(target=self.work, args=(count, points)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self.images >= count, f"only {self.images} of {self.drawn} images had something unsynced"


class Moves(Cuts):
    """Cuts while later starts, with other numbers of shards, move partitions between journals."""

    def __init__(self, binary, topic, events, promised, root, seed, first):
        super().__init__(binary, topic, events, promised, root, seed)
        self.moments = [event.start for event in events[first:]]

    def points(self):
        return self.moments

    def shards(self, number):
        # As before, as was wanted, or yet another number.
        return [SHARDS, SHARDS + 1, 1, SHARDS + 2][number % 4]


def follow(events, later):
    """One trace after the other; what a killed process left in the page cache is still there."""
    last = max(event.end for event in events) + 1
    for event in later:
        event.start += last
        event.end += last
    events += later


def campaign(binary, topic, configs, images, seed, rounds, moves=()):
    with tempfile.TemporaryDirectory() as work:
        began = time.time()
        data, log = os.path.join(work, "data"), os.path.join(work, "strace")
        os.mkdir(data)
        events, promised = record(binary, data, log, produced(topic, configs, rounds, seed))
        first = len(events)
        for shards in moves:
            follow(events, record(binary, data, log, lambda port: None, shards)[0])
        if moves:
            cuts = Moves(binary, topic, events, promised, data, seed, first)
        else:
            cuts = Cuts(binary, topic, events, promised, data, seed)
        cuts.check_model()
        syncs = sum(event.name in ("fsync", "fdatasync") for event in events)
        segments = sum(path.endswith(".log") for path in cuts.model.names)
        journal = sum(len(data) for path, file in cuts.model.names.items() if path.endswith(".ring")
                      for _, _, _, data in file.writes)
        print(f"   {topic}: {len(promised)} promises, {len(events)} calls, {syncs} syncs, "
              f"{journal >> 20} MiB of journal, {segments} segments", flush=True)
        cuts.run(images)
        told = ", ".join(f"{style} {count}" for style, count in sorted(cuts.styles.items()))
        print(f"   {topic}: {cuts.images} images ({told}), {cuts.skipped} with nothing to lose, "
              f"{len(cuts.lost)} losing, {time.time() - began:.0f} s", flush=True)
        return cuts.lost


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=os.path.abspath)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = parser.parse_args()
    print(f"   seed {args.seed}")
    lost = campaign(args.binary, "synced", SMALL_SEGMENTS, args.images, args.seed, 500)
    lost += campaign(args.binary, "moving", SMALL_SEGMENTS, args.images // 5, args.seed, 100, moves=[SHARDS + 1, 1])
    for number, style, missing, _ in lost[:10]:
        print(f"   image {number} ({style}): {missing}")
    opted_out = [*SMALL_SEGMENTS, ("flush.messages", "1000000")]
    expected = campaign(args.binary, "opted-out", opted_out, 30, args.seed, 200)
    assert expected, "a topic that is not synced lost nothing: the harness is wrong"
    for number, style, missing, warned in expected:
        assert missing.endswith("is gone") and missing.startswith("partition"), f"image {number} ({style}): {missing}"
        assert warned, f"image {number} ({style}): {missing}, and the broker did not say so"
    print(f"   opted-out: as it must, e.g. {expected[0][1]}: {expected[0][2]}")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
