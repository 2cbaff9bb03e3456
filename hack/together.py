#!/usr/bin/env python3
"""Runs commands at the same time: `together.py cargo build -- hack/kube/build.sh --demo`. When one of them fails, or a
signal ends this program, it ends all of them with everything that they have started, and exits with the first failure.

A shell cannot do this without a terminal: it then gives no background job a process group of its own, and it cannot wait
for the first of two jobs."""

import itertools
import os
import signal
import subprocess
import sys
import time

ENDS_WITHIN = 5  # Seconds. Then it is killed.

children = {}  # By process id, which is also the id of the process group.
failure = 0
failed = None


def send(group, number):
    """Returns whether anything of the group is left."""
    try:
        os.killpg(group, number)
        return True
    except OSError:
        return False


def end(status):
    global failure
    failure = failure or status
    for group in children:
        send(group, signal.SIGTERM)


for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # As nohup does.
        signal.signal(number, lambda number, _: end(128 + number))

commands = [list(words) for is_end, words in itertools.groupby(sys.argv[1:], lambda word: word == "--") if not is_end]
for command in commands:
    if failure:
        break
    try:
        # Not a session of its own: Linux shares the CPU between sessions before it looks at what `nice` says.
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=os.setpgrp)
    except OSError as error:
        print(f"cannot run {command[0]}: {error}", file=sys.stderr)
        end(127)
        break
    children[child.pid] = child
if failure:
    end(failure)  # Also what was started while the signal came.

running = set(children)
while running:
    pid, status = os.wait()
    if pid not in running:
        continue
    running.remove(pid)
    status = os.waitstatus_to_exitcode(status)
    if not status:
        del children[pid]  # Others may get its number.
    elif not failure:
        end(status if status > 0 else 128 - status)
        failed = " ".join(children[pid].args)

if failure:
    deadline = time.monotonic() + ENDS_WITHIN
    while any([send(group, 0) for group in children]) and time.monotonic() < deadline:
        time.sleep(0.01)
    for group in children:
        send(group, signal.SIGKILL)
    if failed and len(commands) > 1:
        print(f"\nThis failed, see its errors above: {failed}", file=sys.stderr)
sys.exit(failure)
