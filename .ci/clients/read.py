"""One client reads, in a process of its own; rskafka, which has its own program, takes the same verbs.

read.py CLIENT read ADDR                   every record of every partition, as rows
read.py CLIENT times ADDR                  for each [topic, partition, timestamp] of standard input where
                                           reading starts, and the first offset that is then read
read.py CLIENT tail ADDR TOPIC PARTITION   the end once it is reached, then the first record that arrives
"""
import importlib
import json
import sys

from rows import OFFSET


def say(value):
    print(json.dumps(value), flush=True)


def main(client, verb, addr, *rest):
    # A client that turns to its next partition first sits out the fetch it has under way: short ones
    # where there are many partitions, long ones where the point is to be woken.
    wait_ms = 1_000 if verb == "tail" else 20
    reader = importlib.import_module(f"readers.{client}").Reader(addr, wait_ms)
    if verb == "read":
        # Not `say`: flushing each of a hundred thousand rows takes its time.
        for row in reader.everything():
            print(json.dumps(row))
    elif verb == "times":
        for line in sys.stdin:
            topic, partition, time = json.loads(line)
            offset, first = reader.from_time(topic, partition, time)
            say([topic, partition, time, offset, first and first[OFFSET]])
    elif verb == "tail":
        topic, partition = rest
        say(reader.tail(topic, int(partition), reached=say))
    else:
        raise SystemExit(__doc__)
    reader.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
