"""The broker's own figures, each beside a baseline of the same run: what this disk does at best.

bench.py BROKER [--runs N]      needs librdkafka-dev, a C compiler and the package crc32c

One line per figure and run, the median last, as node/BENCHMARKS.md shows them. Nothing is asserted:
wall-clock time is no test.
"""
import argparse
import mmap
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# The hand-written Kafka requests of the power-cut harness.
sys.path.insert(0, os.path.join(HERE, "../../.ci/power"))
import wire  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
GB = 1_000_000_000


class Broker:
    def __init__(self, binary, data):
        self.began = time.monotonic()
        command = [binary, "dev", "--port", "0", "--data", data]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        line = self.process.stdout.readline().decode()
        self.port = int(line.split("ready on ")[1].split(",")[0].rsplit(":", 1)[1])
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            lines = [line for line in status if line.startswith("VmRSS")]
        return int(lines[0].split()[1]) / 1024

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)


def create(port, topic, partitions):
    error = wire.topic_error(wire.Client(port).call(wire.create(topic, partitions)))
    assert error == 0, error


def first_ack(broker, topic):
    """Seconds from the start of the process to the first acknowledged produce."""
    [(_, error, _)] = wire.produced(wire.Client(broker.port).call(wire.produce(topic, [b"x"], [0])))
    assert error == 0, error
    return time.monotonic() - broker.began


def load(tool, broker, topic, kind, records, *codec):
    out = subprocess.run([tool, f"127.0.0.1:{broker.port}", topic, kind, str(records), "1024", *codec],
                         stdout=subprocess.PIPE, check=True, timeout=560)
    return [float(line) for line in out.stdout.split()]


def built_load(folder):
    """The load tool, built into this folder."""
    tool = os.path.join(folder, "load")
    subprocess.run(["cc", "-O2", os.path.join(HERE, "load.c"), "-o", tool, "-lrdkafka"], check=True)
    return tool


def raw_rate(folder, size):
    """MB/s of 1 MiB direct writes into an allocated file, each synced."""
    path, block = os.path.join(folder, "raw"), 1 << 20
    buffer = mmap.mmap(-1, block)
    buffer.write(os.urandom(block))
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    os.posix_fallocate(file, 0, size)
    os.fsync(file)
    began = time.monotonic()
    for at in range(0, size, block):
        os.pwrite(file, buffer, at)
        os.fdatasync(file)
    seconds = time.monotonic() - began
    os.close(file)
    os.unlink(path)
    return size / seconds / 1e6


def raw_latency(folder, count):
    """Median seconds of a 4 KiB write and its sync."""
    path, found = os.path.join(folder, "raw"), []
    file = os.open(path, os.O_CREAT | os.O_RDWR)
    os.posix_fallocate(file, 0, 4096 * count)
    os.fsync(file)
    for at in range(count):
        began = time.monotonic()
        os.pwrite(file, b"\1" * 4096, at * 4096)
        os.fdatasync(file)
        found.append(time.monotonic() - began)
    os.close(file)
    os.unlink(path)
    return statistics.median(found)


def one_run(binary, tool, records, found):
    def note(name, value, unit):
        found.setdefault((name, unit), []).append(value)
        print(f"{name}: {value:.2f} {unit}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        rate = raw_rate(folder, 512 << 20)
        note("baseline, 1 MiB direct writes, each synced", rate, "MB/s")
        sync = raw_latency(folder, 500)
        note("baseline, 4 KiB write and sync, p50", sync * 1e3, "ms")
        broker = Broker(binary, data)
        create(broker.port, "one", 1)
        note("start to the first acknowledged produce", first_ack(broker, "one") * 1e3, "ms")
        time.sleep(2)  # idle is the point
        note("idle memory", broker.resident(), "MiB")
        acks = sorted(load(tool, broker, "one", "latency", 2000))
        p50, p99 = acks[len(acks) // 2] / 1e3, acks[len(acks) * 99 // 100] / 1e3
        note("one record in flight, ack p50", p50, "ms")
        note("one record in flight, ack p99", p99, "ms")
        note("ack p50 to a bare sync", p50 / (sync * 1e3), "x")
        create(broker.port, "six", 6)
        before, size = broker.cpu(), records * 1024
        seconds = load(tool, broker, "six", "throughput", records)[0]
        note("1 KiB records on 6 partitions", size / seconds / 1e6, "MB/s")
        note("throughput to the bare disk's", size / seconds / 1e6 / rate, "x")
        note("server CPU seconds per GB", (broker.cpu() - before) / (size / GB), "s/GB")
        note("memory after the load", broker.resident(), "MiB")
        broker.kill()
        broker = Broker(binary, data)
        note(f"restart after kill -9 with {size / GB:.1f} GB", first_ack(broker, "one") * 1e3, "ms")
        broker.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=os.path.abspath)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--records", type=int, default=4_000_000)
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        tool = built_load(folder)
        for run in range(args.runs):
            print(f"run {run + 1}", flush=True)
            one_run(args.binary, tool, args.records, found)
    print("medians")
    for (name, unit), values in found.items():
        print(f"{name}: {statistics.median(values):.2f} {unit}")


if __name__ == "__main__":
    main()
