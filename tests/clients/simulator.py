"""Starts the simulator for a trial, and speaks to its control interface."""

import json
import os
import subprocess
import urllib.request


class Simulator:
    """A running simulator; use it with `with`."""

    def __init__(self, *sets):
        program = os.environ["GENESYS_GATEWAY"]
        options = [word for pair in sets for word in ("--set", pair)]
        self.process = subprocess.Popen(
            [program, "simulate", *options], stdout=subprocess.PIPE, text=True
        )
        told = json.loads(self.process.stdout.readline())
        self.api_url = told["apiUrl"]
        self.control_url = told["controlUrl"]
        self.client_id = told["clientId"]
        self.client_secret = told["clientSecret"]
        self.org_name = told["orgName"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(10) == 0, "the simulator did not stop cleanly"

    def control(self, method, path, body=None):
        request = urllib.request.Request(
            self.control_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def start(self, **how):
        return self.control("POST", "/conversations", how)["conversation"]

    def act(self, conversation, name, **how):
        return self.control("POST", f"/conversations/{conversation}/{name}", how)

    def fault(self, name, **how):
        return self.control("POST", "/faults", {"fault": name, **how})


def acw(conversation):
    return f"v2.detail.events.conversation.{conversation}.acw"
