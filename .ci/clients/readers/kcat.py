"""kcat: an older librdkafka (Debian's), by command line."""
import json
import re
import subprocess

from broker import bound
from rows import row

LIMIT = 120


class Reader:
    def __init__(self, addr, wait_ms):
        # `timeout`, because kcat waits for ever for a broker that does not answer.
        self.kcat = bound(["timeout", str(LIMIT), "kcat", "-b", addr, "-m", "30"])
        self.consuming = ["-C", "-J", "-X", f"fetch.wait.max.ms={wait_ms}"]

    def close(self):
        pass

    def run(self, *arguments):
        return subprocess.run([*self.kcat, *arguments], stdout=subprocess.PIPE, check=True).stdout

    def partitions(self):
        topics = json.loads(self.run("-L", "-J"))["topics"]
        return sorted((topic["topic"], part["partition"]) for topic in topics for part in topic["partitions"])

    def row(self, line):
        m = json.loads(line)
        data = [None if m[name] is None else m[name].encode() for name in ("key", "payload")]
        names = m.get("headers", [])
        headers = [(k, v.encode()) for k, v in zip(names[::2], names[1::2])]
        return row(m["topic"], m["partition"], m["offset"], *data, headers, m["ts"])

    def consume(self, topic, partition, *arguments):
        out = self.run(*self.consuming, "-q", "-t", topic, "-p", str(partition), *arguments)
        return [self.row(line) for line in out.splitlines()]

    def everything(self):
        for topic, partition in self.partitions():
            yield from self.consume(topic, partition, "-o", "beginning", "-e")

    def from_time(self, topic, partition, time):
        answer = self.run("-Q", "-t", f"{topic}:{partition}:{time}").decode()
        offset = int(re.fullmatch(r"\S+ \[\d+\] offset (-?\d+)\s*", answer)[1])
        first = self.consume(topic, partition, "-o", f"s@{time}", "-e", "-c", "1")
        return None if offset < 0 else offset, first[0] if first else None

    def tail(self, topic, partition, reached):
        arguments = [*self.consuming, "-u", "-t", topic, "-p", str(partition), "-o", "end", "-c", "1"]
        kcat = subprocess.Popen([*self.kcat, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        at = None
        for line in kcat.stderr:
            if at is None and (at := re.search(rb"Reached end of topic .* at offset (\d+)", line)):
                reached(int(at[1]))
                break
        out = kcat.stdout.read()
        kcat.wait()
        return self.row(out.splitlines()[0])
