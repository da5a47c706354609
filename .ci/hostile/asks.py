"""Requests of every API, small and malformed, written out by hand."""
import gzip
import socket
import struct
import sys
from pathlib import Path

import crc32c

sys.path.append(str(Path(__file__).parents[1] / "power"))
from wire import array, batch, text  # noqa: E402


def frame(key, version, correlation, body, flexible=False):
    head = struct.pack(">hhi", key, version, correlation) + text("hostile") + (b"\0" if flexible else b"")
    return struct.pack(">i", len(head) + len(body)) + head + body


def connect(port, **limits):
    made = socket.create_connection(("127.0.0.1", port), timeout=limits.get("timeout", 30))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def take(connection, size):
    data = bytearray()
    while len(data) < size:
        more = connection.recv(min(size - len(data), 1 << 20))
        if not more:
            raise EOFError(f"closed after {len(data)} of {size} bytes")
        data += more
    return bytes(data)


def answer(connection):
    """The next answer: its correlation id and its body."""
    data = take(connection, struct.unpack(">i", take(connection, 4))[0])
    return struct.unpack(">i", data[:4])[0], data[4:]


def fetch(correlation, topic, partitions, max_bytes, wait_ms, offset=0):
    parts = [struct.pack(">iqi", partition, offset, max_bytes) for partition in partitions]
    head = struct.pack(">iiiib", -1, wait_ms, 1, max_bytes, 0)
    return frame(1, 4, correlation, head + array([text(topic) + array(parts)]))


def produce(correlation, topic, data, acks, partition=0):
    part = struct.pack(">ii", partition, len(data)) + data
    head = text(None) + struct.pack(">hi", acks, 30_000)
    return frame(0, 3, correlation, head + array([text(topic) + array([part])]))


def gzipped(values):
    """A batch of these values whose records are compressed."""
    plain = batch(values)
    rest = struct.pack(">h", 1) + plain[23:61] + gzip.compress(plain[61:], mtime=0)
    size, crc = struct.pack(">i", len(rest) + 9), struct.pack(">I", crc32c.crc32c(rest))
    return plain[:8] + size + plain[12:17] + crc + rest


def metadata(correlation, topics=None):
    named = struct.pack(">i", -1) if topics is None else array([text(topic) for topic in topics])
    return frame(3, 1, correlation, named)


def create(correlation, topic, partitions, check_only=False):
    row = text(topic) + struct.pack(">ih", partitions, 1) + array([]) + array([])
    return frame(19, 2, correlation, array([row]) + struct.pack(">i?", 30_000, check_only))


def small(correlation):
    """A small request, of another API for every correlation id; each has an answer."""
    one = array([text("nowhere") + array([struct.pack(">iq", 0, 0)])])
    asks = [
        lambda: frame(10, 1, correlation, text("group") + b"\0"),
        lambda: frame(18, 0, correlation, b""),
        lambda: metadata(correlation),
        lambda: frame(2, 1, correlation, struct.pack(">i", -1) + one),
        lambda: produce(correlation, "nowhere", batch([b"v"]), 1),
        lambda: fetch(correlation, "nowhere", [0], 1000, 0),
        lambda: create(correlation, "not made", 1, check_only=True),
        lambda: frame(20, 1, correlation, array([text("nowhere")]) + struct.pack(">i", 30_000)),
        lambda: frame(21, 0, correlation, one + struct.pack(">i", 30_000)),
        lambda: frame(22, 0, correlation, text(None) + struct.pack(">i", 1000)),
        lambda: frame(23, 2, correlation, array([text("nowhere") + array([struct.pack(">iii", 0, -1, 0)])])),
        lambda: frame(37, 0, correlation, array([text("nowhere") + struct.pack(">ii", 2, -1)]) + struct.pack(">i?", 30_000, False)),
    ]
    return asks[correlation % len(asks)]()


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def arrays_of_one_byte(size):
    """(API, version, body): an array of `size` elements of one byte, wherever a message has one; in
    flexible versions an empty string, an empty array or no tags take a byte."""
    items = varint(size + 1) + b"\1" * size
    topic = b"\2" + b"\2t"
    return [
        (0, 9, b"\0" + struct.pack(">hi", 1, 1000) + items),
        (1, 12, struct.pack(">iiiibii", -1, 0, 1, 1000, 0, 0, -1) + items),
        (1, 12, struct.pack(">iiiibii", -1, 0, 1, 1000, 0, 0, -1) + b"\1" + items),
        (2, 6, struct.pack(">ib", -1, 0) + items),
        (3, 9, items),
        (10, 4, b"\0" + items),
        (19, 5, items),
        (19, 5, topic + struct.pack(">ih", 1, 1) + items),
        (19, 5, topic + struct.pack(">ih", 1, 1) + b"\1" + items),
        (20, 4, items),
        (21, 2, items),
        (23, 4, struct.pack(">i", -1) + items),
        (37, 2, items),
        (37, 2, topic + struct.pack(">i", 2) + items),
    ]
