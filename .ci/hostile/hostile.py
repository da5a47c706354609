"""hostile.py BROKER [--full] [CASE...]: a hostile client against the running broker.

Beside each case a good client, a process of its own, asks for metadata, produces and fetches on a
connection to every shard: none of its calls may fail or take over a second. Each row says what was
seen, how much the broker's memory grew at most and the bound on that."""
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import cases
from asks import answer, batch, connect, create, fetch, metadata, produce

sys.path.append(str(Path(__file__).parents[1] / "clients"))
from broker import Broker  # noqa: E402

WORST_S = 1.0
MIB = 1 << 20

# name: (case, most MiB of growth, options of the broker, descriptors, the good client also produces,
# partitions of topics that the good client does not ask for)
ORDINARY = dict(options=(), files=None, produces=True, crowded=0)
CASES = {
    "pipelined": (cases.pipelined, 64, ORDINARY),
    "behind-for-ever": (cases.behind_for_ever, 64, ORDINARY),
    # 350,000 partitions: 33 MB as they are counted, three times that in memory.
    "parked": (cases.parked, 192, ORDINARY),
    # 128 MiB of frames, and 80,000 decoded calls with their answers.
    "smallest": (cases.smallest, 256, ORDINARY),
    "packed": (cases.packed, 256, ORDINARY),
    "unread-one": (cases.unread(1, 100), 256, ORDINARY),
    "unread-many": (cases.unread(100, 1), 256, ORDINARY),
    # 160 MiB of requests, and what the fetches hold.
    "behind-unread": (cases.behind_unread, 384, ORDINARY),
    # As answers are counted 32 MiB at most, and each is made in one piece.
    "unread-metadata": (cases.unread_metadata, 192, dict(ORDINARY, crowded=60_000)),
    # 128 MiB of records, and as much that was given back and the allocator keeps.
    "unread-fetches": (cases.unread_fetches, 384, ORDINARY),
    "one-byte-elements": (cases.one_byte_elements, 64, ORDINARY),
    "announced": (cases.announced, 256, ORDINARY),
    "idle": (cases.idle, 128, ORDINARY),
    "garbage": (cases.garbage, 64, ORDINARY),
    "trickled": (cases.trickled, 64, ORDINARY),
    "storm": (cases.storm, 64, ORDINARY),
    "many-topics": (cases.many_topics, 128, ORDINARY),
    "cold": (cases.cold, 64, dict(ORDINARY, options=("--journal-initial-bytes", "1048576", "--journal-max-bytes", "2097152"))),
    "slow-disk": (cases.slow_disk, 512, dict(ORDINARY, options=("--disk-bytes-per-second", "20000000"), produces=False)),
    # 128 MiB of fetched records, and 16 MiB of last answers.
    "closing": (cases.closing, 192, dict(ORDINARY, files=256)),
    "descriptors": (cases.descriptors, 64, dict(ORDINARY, files=256)),
}


def good_client(port, how, worst, slowest, calls, failed, stop):
    """Asks until it is told to stop. A failure is told by its text."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        made = [connect(port) for _ in range(2)]
        while not stop.value:
            for connection in made:
                asks = {
                    "metadata": metadata(1, ["good"] if how["crowded"] else None),
                    "fetch": fetch(2, "good", [0], 100_000, 50, max(0, calls.value // 9 - 1)),
                }
                if how["produces"]:
                    asks["produce"] = produce(3, "good", batch([b"x" * 100]), -1)
                for name, ask in asks.items():
                    began = time.monotonic()
                    connection.sendall(ask)
                    answer(connection)
                    taken = time.monotonic() - began
                    if taken > worst.value:
                        worst.value, slowest.value = taken, name.encode()
                    calls.value += 1
            time.sleep(0.01)
    except Exception as error:  # whatever it is, the row says so
        failed.value = repr(error)[:200].encode()


def memory(pid, what):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(what))


def prepare(port, crowded):
    connection = connect(port)
    for name, partitions in (("good", 1), ("empty", 1), ("slow", 1), ("large", 6), ("thousand", 1000)):
        connection.sendall(create(1, name, partitions))
        answer(connection)
    for number in range(crowded // 10_000):
        connection.sendall(create(1, f"crowded-{number}", 10_000))
        answer(connection)
    data = batch([bytes(100_000)] * 8)
    for number in range(300):
        connection.sendall(produce(number, "large", data, 1, number % 6))
        answer(connection)


def run(name, binary, folder, full):
    case, bound, how = CASES[name]
    broker = Broker(binary, folder, options=how["options"], files=how["files"])
    prepare(broker.port, how["crowded"])
    worst, calls = multiprocessing.Value("d", 0.0), multiprocessing.Value("i", 0)
    failed, stop = multiprocessing.Array("c", 256), multiprocessing.Value("b", 0)
    slowest = multiprocessing.Array("c", 16)
    args = (broker.port, how, worst, slowest, calls, failed, stop)
    good = multiprocessing.Process(target=good_client, args=args, daemon=True)
    good.start()
    time.sleep(0.5)
    before = memory(broker.process.pid, "VmRSS")
    with open(f"/proc/{broker.process.pid}/clear_refs", "w") as file:
        file.write("5")
    began, seen, why = time.monotonic(), "", None
    worst.value = 0.0
    try:
        seen = case(broker, full)
    except (AssertionError, OSError, EOFError) as error:
        why = f"{type(error).__name__}: {error}"
    time.sleep(0.5)
    stop.value = 1
    good.join(10)
    taken = time.monotonic() - began
    alive = broker.process.poll() is None
    grown = memory(broker.process.pid, "VmHWM") - before if alive else float("inf")
    faults = [why] if why else []
    faults += [] if alive else [f"the broker ended with {broker.process.returncode}"]
    faults += [f"the good client: {failed.value.decode()}"] if failed.value else []
    faults += ["the good client hangs"] if good.is_alive() else []
    faults += [f"a good call took {worst.value:.2f} s"] if worst.value > WORST_S else []
    faults += [f"grew by {grown:.0f} MiB"] if grown > bound else []
    faults += ["the good client did next to nothing"] if calls.value < 20 else []
    print(f"   {name} | {taken:.1f} s | grew {grown:.0f} of {bound} MiB | {calls.value} good calls, "
          f"worst {worst.value * 1000:.0f} ms ({slowest.value.decode()}) | {seen} | {'held' if not faults else 'FAILED: ' + '; '.join(faults)}",
          flush=True)
    if alive:
        broker.stop(signal.SIGTERM)
    return not faults


def main(binary, *words):
    full = "--full" in words
    names = [word for word in words if not word.startswith("--")] or list(CASES)
    with tempfile.TemporaryDirectory(prefix="seedlog-hostile-") as folder:
        held = [run(name, os.path.abspath(binary), os.path.join(folder, name), full) for name in names]
    print(f"   {held.count(True)} of {len(held)} cases held")
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
