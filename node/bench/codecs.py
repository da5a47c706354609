"""What it costs the broker to look into compressed batches, each codec beside none of the same run.

codecs.py BROKER [BASELINE] [--runs N] [--records N]      needs librdkafka-dev, a C compiler and the package crc32c

A second broker (an older build) is measured in turn. Per GB of records before compression. Nothing is
asserted: wall-clock time is no test.
"""
import argparse
import os
import statistics
import tempfile

from bench import GB, Broker, built_load, create, load

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
SIZE = 1024


def measure(name, binary, tool, records, found):
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        broker = Broker(binary, data)
        create(broker.port, "warm", 6)
        load(tool, broker, "warm", "throughput", records // 2, "none")
        plain = None
        for codec in CODECS:
            create(broker.port, codec, 6)
            cpu = broker.cpu()
            [seconds] = load(tool, broker, codec, "throughput", records, codec)
            gb = records * SIZE / GB
            cost, rate = (broker.cpu() - cpu) / gb, gb * 1000 / seconds
            plain = plain or cost
            row = (cost, cost / plain, rate)
            found.setdefault((name, codec), []).append(row)
            print(f"{name} {codec}: {cost:.2f} CPU s/GB, {cost / plain:.2f} of none, {rate:.0f} MB/s", flush=True)
        broker.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=os.path.abspath)
    parser.add_argument("baseline", type=os.path.abspath, nargs="?")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--records", type=int, default=500_000)
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        tool = built_load(folder)
        for number in range(args.runs):
            print(f"run {number + 1}", flush=True)
            measure("now", args.binary, tool, args.records, found)
            if args.baseline:
                measure("baseline", args.baseline, tool, args.records, found)
    print("medians")
    for (name, codec), rows in found.items():
        cost, ratio, rate = (statistics.median(column) for column in zip(*rows))
        print(f"{name} {codec}: {cost:.2f} CPU s/GB, {ratio:.2f} of none, {rate:.0f} MB/s")


if __name__ == "__main__":
    main()
