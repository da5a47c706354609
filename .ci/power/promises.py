"""What the broker had promised when: load, and the point in the trace where each answer left."""
import random
import struct
import threading

import wire


class Load:
    """Connections that produce, read, and create and delete topics until each has done its share.

    `promises` maps a correlation id to what its answer says: ("acked", partition, offset, values),
    ("seen", partition, [(offset, value)]), ("created", topic) or ("deleted", topic). The last two are
    asked one after the other on one connection.
    """

    def __init__(self, port, topic, partitions, seed, rounds):
        self.port, self.topic, self.partitions, self.rounds = port, topic, partitions, rounds
        self.seed = seed
        self.promises, self.failures = {}, []

    def run(self):
        jobs = [self.produce] * 3 + [self.read, self.create_and_delete]
        done = threading.Event()
        threads = [threading.Thread(target=self.guard, args=(job, n, done)) for n, job in enumerate(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads[:3]:
            thread.join()
        done.set()
        for thread in threads[3:]:
            thread.join()
        if self.failures:
            raise self.failures[0]
        return self.promises

    def guard(self, job, number, done):
        try:
            job(number, random.Random(self.seed + number), done)
        except Exception as failure:  # told to the main thread, which ends the run
            self.failures.append(failure)

    def produce(self, number, choice, _done):
        client, waiting, sent = wire.Client(self.port, (number + 1) << 20), {}, 0
        while sent < self.rounds or waiting:
            while sent < self.rounds and len(waiting) < 4:
                partition = choice.randrange(self.partitions)
                size = choice.choice([40, 900, 5000, 20000])
                values = [f"{number}.{sent}.{i}.".encode() + choice.randbytes(choice.randrange(1, size))
                          for i in range(choice.randrange(1, 4))]
                waiting[client.send(wire.produce(self.topic, values, [partition]))] = partition, values
                sent += 1
            correlation, reader = client.receive()
            partition, values = waiting.pop(correlation)
            [(_, error, base)] = wire.produced(reader)
            assert error == 0, f"produce: error {error}"
            self.promises[correlation] = "acked", partition, base, values

    def read(self, number, _choice, done):
        client, next_offsets = wire.Client(self.port, (number + 1) << 20), [0] * self.partitions
        while not done.is_set():
            for partition in range(self.partitions):
                sent = client.send(wire.fetch(self.topic, partition, next_offsets[partition], 50))
                _, reader = client.receive()
                error, _, found = wire.fetched(reader)
                assert error == 0, f"fetch: error {error}"
                found = [row for row in found if row[0] >= next_offsets[partition]]
                if found:
                    next_offsets[partition] = found[-1][0] + 1
                    self.promises[sent] = "seen", partition, found

    def create_and_delete(self, number, choice, done):
        client, live, count = wire.Client(self.port, (number + 1) << 20), [], 0
        while not done.is_set():
            if live and choice.random() < 0.4:
                name, what = live.pop(0), "deleted"
                request = wire.delete(name)
            else:
                name, what = f"t{count}", "created"
                request = wire.create(name, 2)
                count += 1
                live.append(name)
            sent = client.next
            error = wire.topic_error(client.call(request))
            assert error == 0, f"{what} {name}: error {error}"
            self.promises[sent] = what, name
            done.wait(0.02)


def departures(events):
    """(event, correlation id) of every whole response that was sent, in order."""
    streams, found = {}, []
    for event in events:
        if event.name not in ("sendto", "write", "writev") or not event.path.startswith(("socket:", "TCP")):
            continue
        if event.result < 0:
            continue
        stream = streams.get(event.fd, b"") + b"".join(event.strings)[:event.result]
        while len(stream) >= 8:
            size = struct.unpack_from(">i", stream)[0]
            if len(stream) < 4 + size:
                break
            found.append((event, struct.unpack_from(">i", stream, 4)[0]))
            stream = stream[4 + size:]
        streams[event.fd] = stream
    return found


class Owed:
    """What must be found after a cut: records by (partition, offset), and topics."""

    def __init__(self, promises, departed):
        self.records, self.topics = {}, {}
        last = -1
        for correlation in departed:
            what = promises.get(correlation)
            if what is None:
                continue
            if what[0] == "acked":
                for offset, value in enumerate(what[3], what[2]):
                    self.records[what[1], offset] = value
            elif what[0] == "seen":
                for offset, value in what[2]:
                    self.records[what[1], offset] = value
            else:
                self.topics[what[1]] = what[0] == "created"
                last = correlation
        # What was asked next may have been done and not yet been answered.
        unanswered = promises.get(last + 1)
        if unanswered is not None and unanswered[0] in ("created", "deleted"):
            self.topics.pop(unanswered[1], None)

    def missing(self, records, topics):
        """What was promised and is not there, as text; None if all is there."""
        for (partition, offset), value in sorted(self.records.items()):
            found = records.get((partition, offset))
            if found != value:
                what = "gone" if found is None else "another"
                return f"partition {partition} offset {offset} is {what}"
        for name, exists in self.topics.items():
            if (name in topics) != exists:
                return f"topic {name} {'is gone' if exists else 'is back'}"
        return None
