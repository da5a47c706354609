"""Real clients against a release broker: clients.py BROKER [PART...]

Each part makes its own broker and data folder, says what it counted, and ends the run if anything is off.
"""
import importlib.metadata
import os
import signal
import sys
import tempfile
import time

import banner
import clickstream
import kills
import restarts

PARTS = {"banner": banner.run, "restarts": restarts.run, "kills": kills.run, "clickstream": clickstream.run}


def main(binary, *chosen):
    # The default would end Python without its exit handlers, and those end the brokers.
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda number, _: sys.exit(128 + number))
    # Clients come unpinned; a run that fails should say with which.
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("confluent-kafka", "kafka-python", "aiokafka")]
    print(f"   {', '.join(versions)}", flush=True)
    for name in chosen or PARTS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="seedlog-clients-") as folder:
            PARTS[name](os.path.abspath(binary), os.path.join(folder, "broker"))
        print(f"   {name}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
