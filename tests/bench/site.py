"""What the benches roll out: a state folder of one app beside the content that serves, `serving`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench import serving
from tests.e2e import folder

NAME = "served"


@dataclass(frozen=True)
class Site:
    """`root` holds `state/` and `served/`. `rollout` is the app's, as YAML would have it."""

    root: Path
    rollout: Mapping[str, Any]

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def content(self) -> Path:
        return self.root / "served"

    def make(self, first: serving.Behaviour) -> None:
        """Both folders, whose content behaves as `first` says."""
        self.state.mkdir(parents=True)
        self.content.mkdir()
        shutil.copy(serving.__file__, self.content)
        folder.write(self.state / "environment.yaml", folder.ENVIRONMENT)
        self.release(first)

    def release(self, behaviour: serving.Behaviour) -> None:
        """Content that behaves so, and a YAML that names it in a comment: the source's revision is that of its YAML."""
        behaviour.write(self.content)
        folder.write(self.state / "app.yaml", f"# {behaviour.version}\n{yaml.safe_dump(self._app())}")

    def _app(self) -> dict[str, Any]:
        spec = {
            "environmentRef": "west",
            "appName": folder.APP,
            "image": "docker.io/library/python:3.12",
            "workloadProfileName": "Consumption",
            "resources": {"cpu": 0.5, "memory": "1Gi"},
            "commands": [f"python served/{Path(serving.__file__).name}"],
            "content": [{"path": "../served", "target": "served"}],
            "startupBudget": "2m",
            "scale": {"minReplicas": 1, "maxReplicas": 1},
            "terminationGracePeriod": "5s",
            "rollout": dict(self.rollout),
        }
        return {"apiVersion": "acaops/v1", "kind": "InferenceApp", "metadata": {"name": NAME}, "spec": spec}
