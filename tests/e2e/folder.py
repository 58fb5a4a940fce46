"""A state folder beside a small scripted app: what a user edits, and what serves."""

from __future__ import annotations

import os
from pathlib import Path

GROUP = "rg-e2e"
APP = "chat-app"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"

ENVIRONMENT = f"""\
apiVersion: acaops/v1
kind: Environment
metadata: {{name: west}}
spec:
  subscriptionId: {SUBSCRIPTION}
  resourceGroup: {GROUP}
  location: westus3
"""

INFERENCE_APP = """\
apiVersion: acaops/v1
kind: InferenceApp
metadata: {{name: chat}}
spec:
  environmentRef: west
  appName: chat-app
  image: docker.io/library/python:3.12
  workloadProfileName: Consumption
  resources: {{cpu: 0.5, memory: 1Gi}}
  commands: [python server/app.py]
  content: [{{path: ../server, target: server}}]
  startupBudget: 2m
  scale: {{minReplicas: 1, maxReplicas: {max_replicas}}}
  terminationGracePeriod: 5s
  rollout: {{check: {{path: /readyz, successes: 2, period: 0.1s}}}}
  interval: {interval}
"""

# It takes connections one after the other and lets each end, so that none outlives its revision.
SERVER = """\
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "{model}"
ANSWERS = {{
    "/readyz": {{"release": os.environ["ACAOPS_RELEASE"]}},
    "/v1/models": {{"object": "list", "data": [{{"id": MODEL, "object": "model"}}]}},
}}


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path in ANSWERS
        body = json.dumps(ANSWERS.get(self.path, {{}})).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Answer).serve_forever()
"""


class Folder:
    """`root` holds `state/` (YAML) and `server/` (content). Every write is whole, as an editor's or git's."""

    def __init__(self, root: Path, *, model: str = "one", max_replicas: int = 1) -> None:
        self.state = root / "state"
        self.app_yaml = self.state / "app.yaml"
        self._code = root / "server" / "app.py"
        for folder in (self.state, self._code.parent):
            folder.mkdir(parents=True)
        write(self.state / "environment.yaml", ENVIRONMENT)
        self.describe(max_replicas=max_replicas)
        self.publish(model)

    def describe(self, *, max_replicas: int = 1, interval: str = "10m") -> None:
        """The app's YAML."""
        write(self.app_yaml, INFERENCE_APP.format(max_replicas=max_replicas, interval=interval))

    def publish(self, model: str) -> None:
        """The app's code, which names its model `model`."""
        write(self._code, SERVER.format(model=model))


def write(path: Path, text: str) -> None:
    """Into place in one step."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text)
    os.replace(aside, path)
