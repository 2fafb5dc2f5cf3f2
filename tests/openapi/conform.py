"""Runs schemathesis against a gateway with a simulated platform behind it.

Requests come from the examples of the description, from the edges of its schemas and at
random, with a fixed seed: well-formed ones, malformed ones, and chains of them. Each answer is
held against the description: its status, media type, fields and body. No 5xx is allowed, and no
operation may be left without an answer of success: one that only ever says 404 was not tried.
"""

import collections
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import urllib.request

PROGRAM = os.environ["GENESYS_GATEWAY"]
TOKEN = "0123456789abcdef-of-a-test"
SEED = "20260108"
EXAMPLES = "40"


class HistoryManager(http.server.BaseHTTPRequestHandler):
    """Takes whatever it is sent."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def post(url, body, **headers):
    request = urllib.request.Request(
        url,
        method="POST",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def start_simulator():
    process = subprocess.Popen(
        [PROGRAM, "simulate"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    return process, json.loads(process.stdout.readline())


def start_gateway(place, simulator, history):
    secret(place / "client-secret", simulator["clientSecret"])
    secret(place / "api-tokens", TOKEN)
    (place / "gateway.toml").write_text(
        f"""
        [http]
        listen = "127.0.0.1:0"
        api-tokens-file = "api-tokens"
        [status]
        listen = "127.0.0.1:0"
        [store]
        path = "gateway.db"
        [genesys]
        api-url = "{simulator["apiUrl"]}"
        login-url = "{simulator["loginUrl"]}"
        [genesys.oauth]
        grant = "client-credentials"
        client-id = "{simulator["clientId"]}"
        client-secret-file = "client-secret"
        [history]
        url = "{history}"
        [agent-desktop]
        desktop-origins = ["https://workspace.example"]
        """
    )
    process = subprocess.Popen(
        [PROGRAM, "--config", "gateway.toml", "run"],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"callers on (\S+),", line):
            # The pipe is read on, so that nothing blocks on it.
            threading.Thread(target=said.extend, args=(process.stderr,), daemon=True).start()
            return process, f"http://{found[1]}", said
    sys.exit("the gateway did not start:\n" + "".join(said))


def secret(path, text):
    path.write_text(text + "\n")
    path.chmod(0o600)


def report_interactions(intake, simulator, description):
    """The conversation of the examples, and one that the platform knows."""
    example = description["paths"]["/customers/supportInteraction"]["post"]
    example = example["requestBody"]["content"]["application/json"]["example"]
    known = post(simulator["controlUrl"] + "/conversations", {})["conversation"]
    for body in (example, {"conversationId": known}):
        post(
            intake + "/customers/supportInteraction",
            body,
            Authorization=f"Bearer {TOKEN}",
        )


def schemathesis(place, intake):
    tool = pathlib.Path(sys.executable).with_name("schemathesis")
    words = [
        "run",
        intake + "/openapi.json",
        "--header",
        f"Authorization: Bearer {TOKEN}",
        # As a browser says of what the page itself asks for.
        "--header",
        "Sec-Fetch-Site: same-origin",
        "--seed",
        SEED,
        "--generation-database",
        "none",
        "--max-examples",
        EXAMPLES,
        "--continue-on-failure",
        "--request-timeout",
        "10",
        "--report-har-path",
        "requests.har",
        "--no-color",
        *sys.argv[1:],
    ]
    config = pathlib.Path(__file__).with_name("schemathesis.toml")
    return subprocess.run(
        [tool, "--config-file", config, *words], cwd=place, stdin=subprocess.DEVNULL
    ).returncode


def counts(har, description):
    """How often each operation was answered with which status."""
    patterns = [
        (re.compile(re.sub(r"\{[^}]*\}", "[^/]*", path) + "$"), path)
        for path in sorted(description["paths"], key=lambda path: path.count("{"))
    ]
    seen = {
        (method.upper(), path): collections.Counter()
        for path, item in description["paths"].items()
        for method in item
        if method != "parameters"
    }
    for entry in har["log"]["entries"]:
        path = urllib.parse.urlsplit(entry["request"]["url"]).path
        template = next((t for p, t in patterns if p.match(path)), None)
        operation = (entry["request"]["method"], template)
        if operation in seen:
            seen[operation][entry["response"]["status"]] += 1
    return seen


def main():
    history = http.server.ThreadingHTTPServer(("127.0.0.1", 0), HistoryManager)
    threading.Thread(target=history.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        place.chmod(0o700)
        simulator, told = start_simulator()
        gateway, intake, said = start_gateway(
            place, told, f"http://127.0.0.1:{history.server_port}/"
        )
        try:
            with urllib.request.urlopen(intake + "/openapi.json", timeout=10) as answer:
                description = json.load(answer)
            report_interactions(intake, told, description)
            failed = schemathesis(place, intake)
            har = json.loads((place / "requests.har").read_text())
            alive = gateway.poll() is None
        finally:
            gateway.terminate()
            stopped = gateway.wait(20)
            simulator.terminate()
            simulator.wait(20)
    seen = counts(har, description)
    # The tool leaves out the operation that it has the description from.
    seen["GET", "/openapi.json"][200] += 1
    print("\nanswers by operation:")
    for (method, path), answers in seen.items():
        told = " ".join(f"{status}×{n}" for status, n in sorted(answers.items()))
        print(f"  {method:6} {path:46} {told}")
    untried = [f"{m} {p}" for (m, p), a in seen.items() if not any(200 <= s < 300 for s in a)]
    if untried:
        print("never answered with success: " + ", ".join(untried))
    panicked = [line for line in said if "panicked" in line]
    if failed or untried or panicked or not alive or stopped != 0:
        print("".join(said[-20:]))
        sys.exit(f"the gateway and its description differ (schemathesis: {failed}, exit: {stopped})")


if __name__ == "__main__":
    main()
