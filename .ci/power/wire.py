"""The few Kafka requests the harness needs, written out by hand: it must not lean on what it tests."""
import socket
import struct

import crc32c


def text(s):
    return struct.pack(">h", -1) if s is None else struct.pack(">h", len(s)) + s.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def varint(n):
    n = (n << 1) ^ (n >> 63)
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def batch(values, time_ms=1_700_000_000_000):
    """One record batch of magic 2, without keys."""
    records = bytearray()
    for delta, value in enumerate(values):
        body = b"\0" + varint(0) + varint(delta) + varint(-1) + varint(len(value)) + value + varint(0)
        records += varint(len(body)) + body
    head = struct.pack(">hiqqqhii", 0, len(values) - 1, time_ms, time_ms, -1, -1, -1, len(values))
    crc = crc32c.crc32c(head + records)
    return struct.pack(">qiibI", 0, len(head) + len(records) + 9, -1, 2, crc) + head + bytes(records)


class Reader:
    """Takes a response apart."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        found = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return found[0] if len(found) == 1 else found

    def bytes(self, size):
        self.at += size
        return self.data[self.at - size:self.at]

    def text(self):
        size = self.take("h")
        return None if size < 0 else self.bytes(size).decode()

    def varint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)


def records(data):
    """(offset, value) of every record in a run of batches; each CRC is checked."""
    found, reader = [], Reader(data)
    while reader.at + 12 <= len(data):
        base, size = reader.take("qi")
        end = reader.at + size
        if end > len(data):
            break
        _, _, crc = reader.take("ibI")
        assert crc32c.crc32c(data[reader.at:end]) == crc, "a batch with a wrong CRC was served"
        count = reader.take("hiqqqhii")[-1]
        for _ in range(count):
            reader.varint()
            reader.bytes(1)
            reader.varint()
            delta = reader.varint()
            size = reader.varint()
            reader.bytes(max(size, 0))
            value = reader.bytes(reader.varint())
            for _ in range(reader.varint()):
                reader.bytes(max(reader.varint(), 0))
                reader.bytes(max(reader.varint(), 0))
            found.append((base + delta, bytes(value)))
    return found


def produce(topic, values, partitions):
    """The same batch of these values for each of the partitions."""
    data = batch(values)
    parts = [struct.pack(">ii", partition, len(data)) + data for partition in partitions]
    return 0, 3, text(None) + struct.pack(">hi", -1, 30_000) + array([text(topic) + array(parts)])


def produced(reader):
    """[(partition, error, base offset)]"""
    reader.take("i"), reader.text()
    return [reader.take("ihqq")[:3] for _ in range(reader.take("i"))]


def fetch(topic, partition, offset, wait_ms):
    part = struct.pack(">iqi", partition, offset, 1 << 20)
    head = struct.pack(">iiiib", -1, wait_ms, 1, 1 << 20, 0)
    return 1, 4, head + array([text(topic) + array([part])])


def fetched(reader):
    """(error, high watermark, records)"""
    reader.take("ii"), reader.text(), reader.take("i")
    _, error, end, _ = reader.take("ihqq")
    aborted = reader.take("i")
    assert aborted <= 0
    return error, end, records(reader.bytes(max(reader.take("i"), 0)))


def create(topic, partitions, configs=()):
    rows = array([text(name) + text(value) for name, value in configs])
    row = text(topic) + struct.pack(">ih", partitions, 1) + array([]) + rows
    return 19, 2, array([row]) + struct.pack(">i?", 30_000, False)


def delete(topic):
    return 20, 1, array([text(topic)]) + struct.pack(">i", 30_000)


def topic_error(reader):
    """The error of the one topic in a CreateTopics or DeleteTopics response."""
    reader.take("ii"), reader.text()
    return reader.take("h")


def metadata():
    return 3, 1, struct.pack(">i", -1)


def topics(reader):
    """The names of all topics."""
    for _ in range(reader.take("i")):
        reader.take("i"), reader.text(), reader.take("i"), reader.text()
    reader.take("i")
    names = set()
    for _ in range(reader.take("i")):
        reader.take("h")
        names.add(reader.text())
        reader.take("?")
        for _ in range(reader.take("i")):
            reader.take("hii")
            for _ in range(2):
                reader.bytes(4 * reader.take("i"))
    return names


class Client:
    """One connection; `first` is the first correlation id, so that ids are unique over connections."""

    def __init__(self, port, first=0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.next, self.rest = first, b""

    def send(self, request):
        key, version, body = request
        frame = struct.pack(">hhi", key, version, self.next) + text("power") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        self.next += 1
        return self.next - 1

    def receive(self):
        """(correlation id, the response after it)"""
        while len(self.rest) < 4 or len(self.rest) < 4 + struct.unpack_from(">i", self.rest)[0]:
            more = self.socket.recv(1 << 20)
            if not more:
                raise ConnectionError("the broker closed the connection")
            self.rest += more
        size = struct.unpack_from(">i", self.rest)[0]
        frame, self.rest = self.rest[4:4 + size], self.rest[4 + size:]
        return struct.unpack_from(">i", frame)[0], Reader(frame[4:])

    def call(self, request):
        sent = self.send(request)
        correlation, reader = self.receive()
        assert correlation == sent, (correlation, sent)
        return reader

    def close(self):
        self.socket.close()
