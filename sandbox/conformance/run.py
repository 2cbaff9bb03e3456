"""Runs the scenarios and prints one JSON line each: {"scenario", "outcome": "ok" | "failed", "detail", "differs"}.

`differs` is moto's reason out of moto_differences.py, where there is one.

    run.py sandbox http://127.0.0.1:4566     against a running sandbox with a manual clock
    run.py moto                              against a moto server that is started for it, where moto has the operation
"""

import json
import logging
import os
import pathlib
import sys
import traceback
import urllib.request

import harness
import models
import moto_differences
import scenarios  # noqa: F401  (registers them)


def main(target, endpoint=None):
    if target == "sandbox":
        world = harness.World(endpoint, "000000000000", is_sandbox=True)
        models.check_the_checker(world.ec2)
        models.check_the_checker_of_data(world.ssm)
        return run_all(endpoint, is_sandbox=True)
    # Two images instead of moto's hundreds, which it makes anew for each scenario.
    os.environ["MOTO_AMIS_PATH"] = str(pathlib.Path(__file__).with_name("moto_images.json"))
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        return run_all(f"http://{host}:{port}", is_sandbox=False)
    finally:
        server.stop()


def run_all(endpoint, is_sandbox):
    known = {function.__name__ for function, _ in harness.SCENARIOS}
    assert len(known) == len(harness.SCENARIOS), "two scenarios have one name"
    stray = set(moto_differences.MOTO_DIFFERS) - known
    assert not stray, f"moto_differences.py names scenarios that are not there: {stray}"
    for index, (function, needs_control) in enumerate(harness.SCENARIOS):
        if needs_control and not is_sandbox:
            continue
        if not is_sandbox:
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()
        # moto has one account for all keys that it did not issue itself.
        account = f"{200000000000 + index}" if is_sandbox else "123456789012"
        differs = None if is_sandbox else moto_differences.MOTO_DIFFERS.get(function.__name__)
        result = {"scenario": function.__name__, "outcome": "ok", "detail": "", "differs": differs}
        try:
            function(harness.World(endpoint, account, is_sandbox))
        except Exception as error:  # noqa: BLE001  (whatever went wrong is the result)
            where = traceback.extract_tb(error.__traceback__)
            line = next((f"{frame.name}:{frame.lineno}" for frame in where if frame.name == function.__name__), "")
            result |= {"outcome": "failed", "detail": f"{line} {type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
