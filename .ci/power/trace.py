"""What strace recorded, as events in order: what a process asked of its disk, and what it sent."""
import re
from dataclasses import dataclass, field

CALLS = "openat,pwrite64,pwritev,write,writev,sendto,fallocate,ftruncate,fsync,fdatasync,rename,unlink,unlinkat,mkdir"
COMMAND = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", "16777216", "-e", "abbrev=none",
           "-e", "signal=none", "-e", f"trace={CALLS}"]

LINE = re.compile(rb"^(\d+) +(.*)$")
# A call that a kill cut short has no result (`= ?`), or one that is none: `= -1 (errno 18446744073709551572)`.
RESULT = rb"\) += (?:\?|-1 \(errno|(-?\d+))"
STARTED = re.compile(rb"^(\w+)\((.*?)(?: <(?:unfinished|detached) \.\.\.>|" + RESULT + rb".*)$", re.S)
RESUMED = re.compile(rb"^<\.\.\. (\w+) resumed>.*" + RESULT)
STRING = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"')
FD = re.compile(rb"^(\d+)<([^>]*)>")


# Where a call ends that had not returned when the process was killed.
UNFINISHED = 1 << 62


@dataclass
class Event:
    """One system call; `start` and `end` are its places in the record."""
    name: str
    args: bytes
    start: int
    end: int = UNFINISHED
    result: int = -1
    fd: int = -1
    path: str = ""
    strings: list = field(default_factory=list)

    def tail(self, n):
        """The n-th number from the end of the arguments."""
        return int(self.args.rsplit(b",", n)[1].split(b",")[0].strip().split(b"<")[0], 0)


def unescape(raw):
    return bytes.fromhex(raw.replace(b"\\x", b"").decode())


def plain(raw):
    return (unescape(raw) if b"\\x" in raw else raw).decode()


def finish(event):
    """Take the arguments apart, once they are all there."""
    event.strings = [unescape(s) for s in STRING.findall(event.args)]
    fd = FD.match(event.args)
    if fd:
        event.fd, event.path = int(fd[1]), plain(fd[2])
    event.args = STRING.sub(b'""', event.args)


def read(path):
    events, open_calls = [], {}
    with open(path, "rb") as lines:
        for at, line in enumerate(lines):
            pid, rest = LINE.match(line.rstrip(b"\n")).groups()
            resumed = RESUMED.match(rest)
            if resumed:
                event = open_calls.pop(pid)
                assert event.name == resumed[1].decode(), rest[:80]
                if resumed[2] is not None:
                    event.end, event.result = at, int(resumed[2])
                continue
            started = STARTED.match(rest)
            if started is None:
                assert rest.startswith((b"+++", b"---", b"<... ", b"???(")), rest[:80] + b" ... " + rest[-80:]
                continue
            event = Event(started[1].decode(), started[2], at)
            if started[3] is None:
                open_calls[pid] = event
            else:
                event.end, event.result = at, int(started[3])
            finish(event)
            events.append(event)
    return events
