"""infra/inference.config.json: six values, under AI Toolkit's names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from controller import assembly, objects
from controller.cloud import azure
from controller.model import observed
from controller.plan import actions
from controller.sources import manifest
from tests.unit import answers
from tests.unit.plan import wanted

SOURCE = """\
apiVersion: acaops/v1
kind: Environment
metadata: {name: gpu-west}
spec: {subscriptionId: 00000000-0000-0000-0000-000000000000, resourceGroup: rg-phi3, location: westus3}
---
apiVersion: acaops/v1
kind: InferenceApp
metadata: {name: phi3-chat}
spec: {environmentRef: gpu-west, image: "a:1", commands: [serve], workloadProfileName: Consumption}
"""


@pytest.fixture
def source(tmp_path: Path) -> manifest.Source:
    (tmp_path / "app.yaml").write_text(SOURCE)
    return manifest.load(tmp_path)


def view(seen: observed.Workload | None) -> objects.View:
    """A look at the app; the cloud isn't asked."""
    return objects.View(azure.connect(), wanted.ids(), wanted.stack(), actions.Plan(()), lambda path: None, seen=seen)


def test_the_values_of_a_serving_app(source: manifest.Source) -> None:
    """The endpoint is a host name, as AI Toolkit writes it."""
    (app,) = source.apps
    live = wanted.created(wanted.app())

    values = assembly.config(source, view=view(wanted.workload_of(live)), app=app.object)

    assert values == {
        "SUBSCRIPTION_ID": wanted.SUBSCRIPTION,
        "RESOURCE_GROUP_NAME": "rg-phi3",
        "STORAGE_ACCOUNT_NAME": "phi3storage",
        "FILE_SHARE_NAME": "phi3share",
        "ACA_APP_NAME": "phi3",
        "ACA_APP_ENDPOINT": f"{answers.APP}.{answers.DOMAIN}",
    }


def test_an_app_that_isnt_there_has_no_name_yet(source: manifest.Source, tmp_path: Path) -> None:
    """Nothing is made up; the file lies where AI Toolkit looks."""
    (app,) = source.apps

    for seen in (None, replace(wanted.workload_of(None))):
        values = assembly.config(source, view=view(seen), app=app.object)
        assert (values["ACA_APP_NAME"], values["ACA_APP_ENDPOINT"]) == ("", "")

    file = tmp_path / "infra" / "inference.config.json"
    assembly.write_config(file, values)
    assert json.loads(file.read_text()) == values
