"""One broker process on a data folder: started, stopped, killed, and never left behind."""
import atexit
import os
import random
import signal
import socket
import subprocess
import time


def wait_until(what, condition, limit=60):
    """The condition's first true value; an error when there is none in time."""
    end = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not in {limit} s")
        time.sleep(0.02)
    return value


def bound(argv):
    """The command, killed by the kernel should this process die without cleaning up."""
    return ["setpriv", "--pdeathsig", "KILL", *argv]


def free_port():
    """A port below those that the kernel hands out to connections.

    Of those a client that reconnects while the broker is down could be given the broker's own, and
    would then be connected to itself, with the port taken.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    low, high = (10_000, first) if first > 11_000 else (1_025, first)
    for port in random.sample(range(low, high), min(200, high - low)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError(f"no free port in {low}..{high}")


class NotStarted(Exception):
    pass


class Broker:
    """Starts in its constructor; `folder` gets the data and what the broker prints."""

    def __init__(self, binary, folder, by_name=False, options=(), files=None):
        self.binary = binary
        self.folder = folder
        self.options = list(options)
        self.files = files  # descriptors that it may have, if fewer than this process
        self.by_name = by_name  # found in PATH, as a person's shell would
        os.makedirs(folder)
        for chance in (1, 2, 3):
            self.port = free_port()
            self.addr = f"127.0.0.1:{self.port}"
            try:
                return self.start()
            except NotStarted as reason:
                # Between the look and the start another process may have taken the port.
                if chance == 3 or "in use" not in str(reason):
                    raise

    def path(self, name):
        return os.path.join(self.folder, name)

    def environment(self):
        """PATH with the broker's own folder first."""
        return {**os.environ, "PATH": f"{os.path.dirname(self.binary)}:{os.environ['PATH']}"}

    def start(self):
        argv = ["seedlog" if self.by_name else self.binary]
        argv += ["dev", "--port", str(self.port), "--data", self.path("data"), *self.options]
        if self.files:
            argv = ["prlimit", f"--nofile={self.files}", *argv]
        with open(self.path("out"), "wb") as out, open(self.path("err"), "wb") as err:
            self.process = subprocess.Popen(
                bound(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self.environment())
        atexit.register(self.process.kill)
        wait_until("the broker's ready line", self.is_ready)

    def is_ready(self):
        if self.process.poll() is not None:
            with open(self.path("err")) as err:
                raise NotStarted(f"the broker ended with {self.process.returncode}: {err.read()[-2000:]}")
        return "ready" in self.printed()

    def printed(self):
        with open(self.path("out")) as out:
            return out.read()

    def stop(self, sig):
        """Only ever the end that was asked for: a broker that died by itself is a failure."""
        ended = self.process.poll()
        assert ended is None, f"the broker had ended with {ended} before it was stopped"
        self.process.send_signal(sig)
        code = self.process.wait(60)
        atexit.unregister(self.process.kill)
        assert code == (0 if sig == signal.SIGTERM else -sig), f"{sig.name} ended the broker with {code}"

    def restart(self, sig):
        self.stop(sig)
        self.start()
