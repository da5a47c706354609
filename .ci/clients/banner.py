"""What `seedlog dev` says to try: its commands are pasted into a shell, and do what they promise."""
import re
import signal
import subprocess

from broker import Broker, wait_until


def commands(printed):
    """The lines below `try:`, once all three are there."""
    found = re.findall(r"^  (\S.*)\n", printed.partition("try:\n")[2], re.MULTILINE)
    return found if len(found) >= 3 else None


def paste(broker, command):
    done = subprocess.run(
        ["timeout", "60", "sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=broker.folder, env=broker.environment(), text=True)
    assert done.returncode == 0, f"{command}: {done}"
    return done.stdout, done.stderr


def try_out(broker):
    pasted = wait_until("the banner's commands", lambda: commands(broker.printed()))
    assert len(pasted) == 3, f"three commands, not {pasted}"
    create, produce, consume = pasted
    topic, count = re.search(r"topic create (\S+) --partitions (\d+)", create).groups()
    value = re.search(r"echo '[^:']+:([^']+)' \|", produce)[1]
    out, _ = paste(broker, create)
    assert out == f"created {topic} with {count} partitions\n", out
    out, err = paste(broker, produce)
    assert (out, err) == ("", "1 records acknowledged\n"), (out, err)
    out, _ = paste(broker, consume)
    assert out == f"{value}\n", f"{consume}: {out!r}, not the line that was produced"
    # It was the produced record that was shown, not something that is always there.
    paste(broker, produce.replace(value, "another"))
    out, _ = paste(broker, consume)
    assert sorted(out.splitlines()) == sorted([value, "another"]), out
    return len(pasted)


def run(binary, folder):
    tried = 0
    for by_name in (False, True):
        broker = Broker(binary, f"{folder}-{'name' if by_name else 'path'}", by_name)
        tried += try_out(broker)
        broker.stop(signal.SIGTERM)
    print(f"   banner: {tried} commands pasted, of a broker started by path and of one by name", flush=True)
