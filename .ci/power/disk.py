"""A disk as a power cut may leave it.

What POSIX promises and no more: bytes are on the disk once a sync of their file, begun after they
were written, has returned; a directory's entry once a sync of that directory has. Everything else
may be there, in part, torn, or not at all, in any combination.
"""
import os
from dataclasses import dataclass, field

import trace

SECTOR = 512
PAGE = 4096
STYLES = ["nothing", "only the newest", "all but the newest", "pages", "sectors", "torn", "entries"]


@dataclass
class File:
    """One inode, whatever it is called: its writes as (event, kind, offset, data), and its syncs."""
    writes: list = field(default_factory=list)
    syncs: list = field(default_factory=list)


class Model:
    """Everything the trace did below `root`."""

    def __init__(self, events, root):
        self.root = root
        self.names = {}      # path -> File, or None for a directory: as the process saw it at the end
        self.entries = []    # (event, directory, [(path, File or None or "gone")])
        self.folder_syncs = {}
        self.positions = {}
        for event in events:
            if event.result >= 0:
                self.take(event)

    def inside(self, path):
        return path.startswith(self.root + "/")

    def entry(self, event, changes):
        for path, what in changes:
            if what == "gone":
                self.names.pop(path, None)
            else:
                self.names[path] = what
        self.entries.append((event, os.path.dirname(changes[0][0]), changes))

    def take(self, event):
        name = event.name
        if name == "openat":
            return self.opened(event)
        if name in ("mkdir", "unlink", "rename"):
            paths = named(event, self.root)
            if not self.inside(paths[0]):
                return None
            if name == "mkdir":
                return self.entry(event, [(paths[0], None)])
            if name == "unlink":
                return self.entry(event, [(paths[0], "gone")])
            return self.entry(event, [(paths[1], self.names[paths[0]]), (paths[0], "gone")])
        if name in ("fsync", "fdatasync") and (event.path == self.root or self.names.get(event.path, 0) is None):
            return self.folder_syncs.setdefault(event.path, []).append(event)
        file = self.names.get(event.path)
        if file is None:
            assert not self.inside(event.path), f"{name} of an unknown file {event.path}"
            return None
        if name in ("fsync", "fdatasync"):
            file.syncs.append(event)
        elif name in ("pwrite64", "pwritev"):
            file.writes.append((event, "data", event.tail(1), written(event)))
        elif name in ("write", "writev"):
            at = self.positions.get(event.fd, 0)
            file.writes.append((event, "data", at, written(event)))
            self.positions[event.fd] = at + len(written(event))
        elif name == "fallocate":
            file.writes.append((event, "extend", event.tail(1), b""))
        elif name == "ftruncate":
            file.writes.append((event, "cut", event.tail(1), b""))
        else:
            raise AssertionError(f"{name} is not modelled")

    def opened(self, event):
        path = named(event, self.root)[0]
        if event.result < 0 or not self.inside(path):
            return
        self.positions[event.result] = 0
        if path not in self.names and b"O_CREAT" in event.args:
            self.entry(event, [(path, File())])
        elif b"O_TRUNC" in event.args:
            self.names[path].writes.append((event, "cut", 0, b""))

    def difference(self, path, content, there):
        """Where the model and the file part, and which of the file's calls were there last."""
        at = next((i for i, (a, b) in enumerate(zip(content, there)) if a != b), min(len(content), len(there)))
        calls = [f"{event.name} {event.start}..{event.end} = {event.result} at {offset}"
                 for event, kind, offset, data in self.names[path].writes
                 if kind != "data" or offset <= at < offset + len(data)]
        return f"from {at} on, {len(content)} and {len(there)} bytes, {calls[-3:]}"

    def cut(self, at, choice, style):
        """The image if the power goes at `at`: {path: bytes or None}, and how much was unsynced."""
        unsynced = 0
        names = {}
        for event, folder, changes in self.entries:
            if event.start >= at:
                break
            if not durable(event, self.folder_syncs.get(folder, []), at):
                unsynced += 1
                kept = choice.random() < 0.5 if style in ("entries", "pages") else style != "nothing"
                if not kept:
                    continue
            for path, what in changes:
                if what == "gone":
                    names.pop(path, None)
                else:
                    names[path] = what
        image = {}
        for path in sorted(names):
            folder = os.path.dirname(path)
            if folder != self.root and folder not in image:
                continue  # its folder's entry is gone, and it with that
            file = names[path]
            if file is None:
                image[path] = None
                continue
            image[path], loose = content(file, at, choice, style)
            unsynced += loose
        return image, unsynced


def named(event, root):
    """The paths that a call names."""
    return [os.path.normpath(os.path.join(root, s.decode())) for s in event.strings]


def settle(events, root):
    """Give the calls that a kill cut short an end and a result: what the folder shows that they did.

    The kernel may have done all of such a call, none of it, or the first pages of a write.
    """
    unfinished = [event for event in events if event.end == trace.UNFINISHED]
    last = max(event.start if event.end == trace.UNFINISHED else event.end for event in events) + 1
    for event in unfinished:
        event.end, event.result = last, effect(event, root)


def effect(event, root):
    """The result that a call without one would have had, by what it left in the folder."""
    if event.name in ("sendto", "write", "writev"):
        return sum(map(len, event.strings))  # it may have left, so it counts as a promise
    if event.name in ("openat", "mkdir", "unlink", "rename"):
        gone = event.name == "unlink"
        # The new name if there are two.
        return 0 if os.path.exists(named(event, root)[-1]) != gone else -1
    if event.name in ("pwrite64", "pwritev") and os.path.isfile(event.path):
        data, at = b"".join(event.strings), event.tail(1)
        with open(event.path, "rb") as file:
            file.seek(at)
            there = file.read(len(data))
        lengths = [len(data), *range(len(data) // PAGE * PAGE, 0, -PAGE)]
        return next((length for length in lengths if there[:length] == data[:length]), -1)
    if event.name in ("fallocate", "ftruncate") and os.path.isfile(event.path):
        size = os.path.getsize(event.path)
        return 0 if (size >= event.tail(1) if event.name == "fallocate" else size == event.tail(1)) else -1
    return -1


def written(event):
    return b"".join(event.strings)[:event.result]


def durable(event, syncs, at):
    """A sync that began after `event` ended has ended before `at`."""
    return any(sync.start > event.end and sync.end < at and sync.result == 0 for sync in syncs)


def content(file, at, choice, style):
    """The bytes of a file at the cut, and how many of its changes were not synced."""
    done = [write for write in file.writes if write[0].start < at]
    last_sync = max((sync.start for sync in file.syncs if sync.end < at and sync.result == 0), default=-1)
    loose = [write for write in done if write[0].end > last_sync]
    newest = loose[-1] if loose else None
    out = bytearray()
    for write in done:
        event, kind, offset, data = write
        keep = "whole"
        if event.end > last_sync:
            keep = {
                "nothing": "none",
                "only the newest": "whole" if write is newest else "none",
                "all but the newest": "none" if write is newest else "whole",
                "pages": PAGE,
                "sectors": SECTOR,
                "torn": "torn" if write is newest else "whole",
                "entries": "whole",
                "whole": "whole",
            }[style]
        apply(out, kind, offset, data, keep, choice)
    return bytes(out), len(loose)


def apply(out, kind, offset, data, keep, choice):
    if keep == "none" or (kind != "data" and keep in (PAGE, SECTOR) and choice.random() < 0.5):
        return
    if kind == "extend":
        out.extend(bytes(max(0, offset - len(out))))
    elif kind == "cut":
        del out[offset:]
        out.extend(bytes(offset - len(out)))
    elif keep == "torn":
        # A prefix, a suffix, or a hole in the middle, in sectors.
        sectors = max(1, len(data) // SECTOR)
        a, b = sorted(choice.randrange(sectors + 1) * SECTOR for _ in range(2))
        shape = choice.randrange(3)
        parts = [[(0, a)], [(b, len(data))], [(0, a), (b, len(data))]][shape]
        for start, end in parts:
            put(out, offset + start, data[start:end])
    elif keep == "whole":
        put(out, offset, data)
    else:
        for start in range(0, len(data), keep):
            if choice.random() < 0.5:
                put(out, offset + start, data[start:start + keep])


def put(out, at, data):
    if not data:
        return
    out.extend(bytes(max(0, at - len(out))))
    out[at:at + len(data)] = data
