"""Rows: what a record looks like in the acknowledgements and in what is read, and how the two compare."""
import itertools
import json

TOPIC, PARTITION, OFFSET, KEY, VALUE, HEADERS, TIME = range(7)


def text(data):
    return None if data is None else bytes(data).decode()


def row(topic, partition, offset, key, value, headers, time):
    """`time` is None in the log of a writer that does not say which timestamp it gave."""
    return [topic, partition, offset, text(key), text(value), [[k, text(v)] for k, v in headers or []], time]


def load(output):
    return [json.loads(line) for line in output.splitlines()]


def difference(log, rows):
    """None if every acknowledged record was read once, at its offset, in order, with its bytes."""
    wanted = sorted(log, key=lambda r: r[:KEY])
    for want, got in itertools.zip_longest(wanted, rows):
        if want is None or got is None or want[:TIME] != got[:TIME]:
            return f"acknowledged {want}, read {got}"
        if want[TIME] is not None and want[TIME] != got[TIME]:
            return f"the timestamp of {want} was read as {got[TIME]}"
    return None


def doctored(log):
    """The log with one record removed, doubled, and two values swapped."""
    n = len(log) // 2
    swapped = [list(r) for r in log]
    swapped[n][VALUE], swapped[n + 1][VALUE] = swapped[n + 1][VALUE], swapped[n][VALUE]
    return {"removed": log[:n] + log[n + 1:], "doubled": log + [log[n]], "swapped": swapped}


def by_partition(rows):
    parts = {}
    for r in rows:
        parts.setdefault((r[TOPIC], r[PARTITION]), []).append(r)
    return parts


def asks(rows):
    """For each partition timestamps to start at: around its ends, between, and where records share one."""
    found = []
    for (topic, partition), part in by_partition(rows).items():
        times = sorted(r[TIME] for r in part)
        n = len(times)
        some = {times[0] - 1, times[0], times[n // 3], times[n // 2] + 1, times[n - 2], times[-1], times[-1] + 1}
        found += [[topic, partition, time] for time in sorted(some)]
    return found


def judge_time(part, time, found, first):
    """Why an answer to "from this time on" is wrong; None if it is right.

    `part` is the partition as the same reader read it; `found` the offset it was told, `first` the
    offset of the record that it then read.
    """
    want = next((r for r in part if r[TIME] >= time), None)
    if found != first:
        return f"{time} is at {found}, but reading from there starts with {first}"
    if found != (want and want[OFFSET]):
        return f"{time} is at {found}, but the earliest record that is as young is {want}"
    return None
