"""Which bundles an upload must leave on the share."""

from __future__ import annotations

from dataclasses import replace

from controller.model import observed
from controller.plan import template
from tests.unit.plan import wanted

OTHER = "0" * 63 + "1"


def test_revisions_keep_the_bundles_they_start_from() -> None:
    """What the app's template and every listed revision name, active or not: a rollback needs no upload."""
    seen = wanted.workload_of(wanted.created(wanted.app()), published=observed.Published(release=False))
    older = {"containers": [{"command": ["/bin/bash", "-c", f"tar -xzf /mount/x/releases/{OTHER}.tar.gz"]}]}
    assert seen.app is not None
    revision = wanted.revision(seen.app, "phi3--older", template=older, active=False)
    seen = replace(seen, revisions=(revision,))

    publish = wanted.plan_app(wanted.app(), seen).steps[0]

    assert publish.action is not None
    assert publish.action.keep == tuple(sorted({OTHER, wanted.CONTENT.digest}))


def test_other_files_are_no_bundles() -> None:
    """Only a whole digest before .tar.gz is one."""
    assert template.bundle_digest(f"{OTHER}.tar.gz") == OTHER
    assert [template.bundle_digest(name) for name in ("notes.txt", "1.tar.gz", f"{OTHER}.zip")] == [None] * 3
