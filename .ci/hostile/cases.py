"""What a hostile client does. A case takes the broker and says what it saw; it fails by an exception.
The table row and the bound on memory are `hostile.py`'s."""
import collections
import os
import random
import socket
import struct
import sys
import threading
import time

from asks import (answer, array, arrays_of_one_byte, batch, connect, create, fetch, frame, gzipped, metadata,
                  produce, small, take, text)

EVER = 2**31 - 1
MIB = 1 << 20


def closed(connection, limit=10):
    """True once the broker has closed it; what it says before that is passed over."""
    connection.settimeout(limit)
    try:
        while connection.recv(1 << 16):
            pass
        return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def in_background(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def pipelined(broker, full):
    count = 20_000
    connection = connect(broker.port)
    connection.sendall(fetch(0, "empty", [0], 1000, 300))
    data = b"".join(small(number) for number in range(1, count + 1))
    sender = in_background(lambda: connection.sendall(data))
    for number in range(count + 1):
        found, _ = answer(connection)
        assert found == number, f"{found} came where {number} was due"
    sender.join(10)
    return f"{count + 1} answers in order"


def behind_for_ever(broker, full):
    connection = connect(broker.port, timeout=3)
    connection.sendall(fetch(0, "empty", [0], 1000, EVER))
    data, sent = b"".join(small(number * 12) for number in range(1, 10_001)), 0
    try:
        while sent < 600_000:
            connection.sendall(data)
            sent += 10_000
    except TimeoutError:
        pass
    connection.close()
    time.sleep(2)
    return f"{sent} calls taken by the sockets, then gone"


def parked(broker, full):
    """As many partitions in fetches that wait as a large installation has."""
    made = [connect(broker.port) for _ in range(350)]
    asked = fetch(0, "thousand", range(1000), MIB, EVER)
    for connection in made:
        connection.sendall(asked)
    time.sleep(3)
    for connection in made:
        connection.close()
    return f"{len(made)} fetches of 1,000 partitions, waiting"


def smallest(broker, full):
    """Requests of the least size there is, as many as the sockets take, on each of many connections."""
    made = []
    data = fetch(0, "empty", [0], 1000, EVER) + b"".join(small(number * 12 + 2) for number in range(1, 256))
    data += struct.pack(">ihhi", 8, 3, 1, 5) * 20_000
    for _ in range(400):
        made.append(connect(broker.port))
        made[-1].setblocking(False)
        try:
            made[-1].send(data)
        except BlockingIOError:
            pass
    time.sleep(5)
    for connection in made:
        connection.close()
    return "400 connections with all the requests of 8 bytes that go in"


def packed(broker, full):
    """Batches that hold a thousand times what they weigh, for many partitions, from many clients."""
    data = gzipped([bytes(250_000)])
    parts = [struct.pack(">ii", partition, len(data)) + data for partition in range(100)]
    asked = frame(0, 3, 1, text(None) + struct.pack(">hi", 1, 30_000) + array([text("thousand") + array(parts)]))
    until, counts = time.monotonic() + 8, [0] * 8

    def attack(number):
        connection = connect(broker.port)
        connection.sendall(asked * 20)
        while time.monotonic() < until:
            answer(connection)
            counts[number] += 1
            connection.sendall(asked)
    threads = [in_background(lambda number=number: attack(number)) for number in range(len(counts))]
    for thread in threads:
        thread.join(60)
    assert min(counts) > 0, counts
    return f"{sum(counts) * len(parts)} batches of {len(data)} bytes that hold 250,000"


def unread(connections, each):
    def case(broker, full):
        made = [connect(broker.port) for _ in range(connections)]
        for connection in made:
            for number in range(each):
                connection.sendall(fetch(number, "large", range(6), 50 * MIB, 500))
        time.sleep(4)
        for connection in made:
            connection.close()
        return f"{connections * each} fetches of 50 MiB"
    return case


def sockets(broker):
    """Files that the broker has open, which are its sockets and a few others."""
    return len(os.listdir(f"/proc/{broker.process.pid}/fd"))


def crowd(broker, count, asked):
    """So many connections ask, take next to nothing of it, and stay until they are shut."""
    made, before = [], sockets(broker)
    for _ in range(count):
        connection = connect(broker.port)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        made.append(connection)
    for connection in made:
        in_background(lambda c=connection: c.sendall(asked))
    time.sleep(8)
    # With its window full a client cannot see that it was shut.
    shut = count - (sockets(broker) - before)
    for connection in made:
        connection.close()
    return shut


def unread_metadata(broker, full):
    """Each has asked for 60,000 partitions, 256 times. The kernel takes the first answers for them."""
    shut = crowd(broker, 1_000 if full else 100, metadata(1) * 256)
    assert shut > 0, "nobody was shut: there was room for all"
    return f"{shut} shut for the room that they held"


def unread_fetches(broker, full):
    shut = crowd(broker, 8_000 if full else 2_000, fetch(1, "large", range(6), 50 * MIB, 500) * 4)
    assert shut > 0, "nobody was shut: there was room for all"
    return f"{shut} shut for the room that they held"


def behind_unread(broker, full):
    """Produces of 6 MiB behind answers that nobody reads: 24 of them fill the pool of requests, and who
    holds it so is closed for the next one's sake."""
    data = batch([bytes(6 * MIB)])
    made = [connect(broker.port) for _ in range(24)]
    for connection in made:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
        # More than the sockets take, and far less than the pool of answers has.
        connection.sendall(fetch(1, "large", range(6), 7 * MIB, 500))
        time.sleep(0.05)

    def attack(connection):
        try:
            connection.sendall(produce(2, "large", data, 1))
        except OSError:
            pass
    for sender in [in_background(lambda c=connection: attack(c)) for connection in made]:
        sender.join(20)
        assert not sender.is_alive(), "the broker does not take the 6 MiB"
    time.sleep(3)
    shut = 0
    for connection in made:
        told = []
        try:
            while len(told) < 2:
                told.append(answer(connection)[0])
        except (EOFError, ConnectionError):
            shut += 1
        connection.close()
    assert shut > 0, "all are still served: nobody needed the room"
    return f"{shut} of {len(made)} closed for the room that they held"


def one_byte_elements(broker, full):
    asks = arrays_of_one_byte(4 * MIB)
    made = []
    for key, version, body in asks:
        made.append(connect(broker.port))
        in_background(lambda c=made[-1], f=frame(key, version, 1, body, flexible=True): c.sendall(f))
    shut = [closed(connection) for connection in made]
    assert all(shut), f"still open: {[asks[i][:2] for i, done in enumerate(shut) if not done]}"
    return f"{len(asks)} frames of 4 MiB refused"


def announced(broker, full):
    made = [connect(broker.port) for _ in range(200)]
    sent = 0
    for connection in made:
        # Bytes that are not taken in this time are not taken before others end. A connection that the
        # kernel has to ask for twice needs longer than that.
        connection.settimeout(1)
        try:
            connection.sendall(struct.pack(">ihhi", 100 * MIB, 0, 7, 1) + bytes(MIB))
            sent += 1
        except (TimeoutError, ConnectionError):
            pass
    time.sleep(3)
    for connection in made:
        connection.close()
    return f"{sent} of 200 sent their 1 MiB"


def idle(broker, full):
    made = [connect(broker.port) for _ in range(10_000)]
    for connection in made[::1000]:
        connection.sendall(metadata(1))
        answer(connection)
    for connection in made:
        connection.close()
    return "10,000 connections, every 1,000th asked"


def cold(broker, full):
    connection = connect(broker.port)
    for partition in range(1000):
        connection.sendall(produce(partition, "thousand", batch([bytes(16_000)]), 1, partition))
        answer(connection)
    sizes = []
    for max_bytes in (1, 100_000, 1_000_000):
        connection.sendall(fetch(1, "thousand", range(1000), max_bytes, 1000))
        _, body = answer(connection)
        # What is not records: a head, and 30 bytes for each partition.
        records = len(body) - 1000 * 30 - 22
        assert 16_000 < records <= max_bytes + 16_100, f"{records} bytes where {max_bytes} were asked for"
        assert records * 2 > max_bytes, f"only {records} bytes where {max_bytes} were asked for"
        sizes.append(records)
    return f"{sizes} bytes of 1, 100,000, 1,000,000"


def garbage(broker, full):
    hello = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bytes.fromhex("16030100c8010000c40303") + bytes(200)]
    hello += [struct.pack(">i", size) + bytes(100) for size in (0, -1, 3, 200 * MIB)]
    hello += [random.Random(number).randbytes(3000) for number in range(100)]
    kept = []
    for data in hello:
        connection = connect(broker.port)
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        if not closed(connection):
            kept.append(data[:20])
    assert not kept, f"not closed: {kept}"
    return f"{len(hello)} connections closed"


def trickled(broker, full):
    connection = connect(broker.port)
    for number in (5, 6):
        for byte in small(12 * number + 2):
            connection.sendall(bytes([byte]))
        answer(connection)
    reader = connect(broker.port)
    reader.sendall(fetch(1, "large", range(6), MIB, 0) * 3)
    for _ in range(30):
        take(reader, 1)
        time.sleep(0.05)
    header = connect(broker.port)
    header.sendall(b"\0\0")
    half = connect(broker.port)
    half.sendall(metadata(7))
    half.shutdown(socket.SHUT_WR)
    assert closed(half), "a client that sends no more is not let go"
    return "bytes one at a time, both ways"


def storm(broker, full):
    count = 3000
    for number in range(count):
        connection = connect(broker.port)
        if number % 3:
            connection.sendall(metadata(1))
        connection.close()
    return f"{count} connections made and dropped"


def many_topics(broker, full):
    connection = connect(broker.port)
    connection.sendall(metadata(1, [f"made-{number}" for number in range(90_000)]))
    try:
        answer(connection)
    except (EOFError, ConnectionError):
        pass
    connection = connect(broker.port)
    connection.sendall(metadata(2))
    made = answer(connection)[1].count(b"made-")
    assert made <= 10_000, f"{made} topics were made by one request"
    return f"{made} topics made by one request"


def slow_disk(broker, full):
    """Records without acknowledgement into a disk of 20 MB/s; then all of them are read back."""
    total, size = (2048 if full else 256) * MIB, 64 << 10
    connection = connect(broker.port, timeout=300)
    for number in range(total // size):
        data = batch([struct.pack(">q", number) + bytes(size)])
        connection.sendall(produce(number, "slow", data, 0))
    connection.sendall(metadata(-7))
    found, _ = answer(connection)
    assert found == -7, f"an answer to {found}, which waits for none"
    next_number, offset = 0, 0
    while next_number < total // size:
        connection.sendall(fetch(1, "slow", [0], 8 * MIB, 1000, offset))
        body = answer(connection)[1]
        at = body.index(struct.pack(">h", 4) + b"slow") + 6 + 4
        _, error, end, _, aborted, length = struct.unpack(">ihqqii", body[at:at + 30])
        assert error == 0 and length > 0, (error, length, next_number)
        at += 30
        while at < len(body):
            (batch_bytes,) = struct.unpack(">i", body[at + 8:at + 12])
            # Past the head and the record's own: length (3), attributes, deltas, no key, length (3).
            (number,) = struct.unpack(">q", body[at + 61 + 10:at + 61 + 18])
            assert number == next_number, f"record {number} where {next_number} was due"
            at, next_number, offset = at + batch_bytes + 12, next_number + 1, offset + 1
    return f"{total // MIB} MiB without acknowledgement, all there in order"


def descriptors(broker, full):
    """More clients than the broker has descriptors for."""
    # As many more as the kernel's queue of a small machine holds (`somaxconn`, 128).
    made = [connect(broker.port, timeout=2) for _ in range(230)]

    def served(connection):
        try:
            connection.sendall(metadata(1))
            answer(connection)
            return True
        except (TimeoutError, ConnectionError, EOFError):
            return False
    ticks = os.sysconf("SC_CLK_TCK")

    def cpu():
        with open(f"/proc/{broker.process.pid}/stat") as file:
            fields = file.read().split()
        return (int(fields[13]) + int(fields[14])) / ticks
    first = [served(connection) for connection in made[:100]]
    assert all(first), f"{first.count(False)} of the first 100 are not served"
    assert not served(made[-1]), "there are no descriptors for the last one"
    before = cpu()
    time.sleep(3)
    spent = cpu() - before
    # The good client has its share of it; an acceptor that spins takes all three.
    assert spent < 1.5, f"{spent} CPU seconds in 3 s of waiting"
    for connection in made[:150]:
        connection.close()
    last = made[-1]
    last.settimeout(10)
    assert answer(last)[0] == 1, "the one that waited is served"
    with open(broker.path("err")) as file:
        lines = [line for line in file if "others wait" in line or "cannot be accepted" in line]
    assert len(lines) == 1, lines
    return f"{len(made)} clients, {spent:.2f} CPU s waiting, one line told"


def closing(broker, full):
    """Connections that the broker closes while their sockets have not taken the answers: each has its
    descriptor for a while still."""
    held, counts, most, stop = collections.deque(maxlen=400), [], 0, threading.Event()

    def attack():
        while not stop.is_set():
            made = socket.socket()
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            made.settimeout(2)
            try:
                made.connect(("127.0.0.1", broker.port))
                made.sendall(fetch(1, "large", range(6), 8 * MIB, 0) + b"\xff" * 16)
                held.append(made)
                counts.append(1)
            except OSError:
                made.close()
                time.sleep(0.01)
    attackers = [in_background(attack) for _ in range(2)]
    end = time.monotonic() + 10
    while time.monotonic() < end:
        most = max(most, len(os.listdir(f"/proc/{broker.process.pid}/fd")))
        time.sleep(0.01)
    stop.set()
    for attacker in attackers:
        attacker.join(10)
    for made in held:
        made.close()
    assert len(counts) > 300, f"only {len(counts)} connections came about"
    assert most <= 220, f"{most} of 256 descriptors were in use: a segment needs some as well"
    return f"{len(counts)} connections, {most} of 256 descriptors at most"


if __name__ == "__main__":
    sys.exit("run hostile.py")
