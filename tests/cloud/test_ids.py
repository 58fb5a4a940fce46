"""ARM ids, as the services write them."""

from __future__ import annotations

import pytest

from controller.cloud import ids


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("/subscriptions/S/resourceGroups/G", ids.Id("S", "G")),
        ("/subscriptions/S/resourcegroups/G/providers/Microsoft.App/containerapps/A", ids.Id("S", "G", ("A",))),
        (
            "/SUBSCRIPTIONS/S/resourceGroups/G/providers/Microsoft.Storage/storageAccounts/A/fileServices/default/shares/F/",
            ids.Id("S", "G", ("A", "default", "F")),
        ),
    ],
)
def test_an_id_is_read_whatever_the_case_of_its_segments(text: str, parsed: ids.Id) -> None:
    """Names keep their case, the words between them have none."""
    assert parsed == ids.parse(text)


@pytest.mark.parametrize("text", ["", "/subscriptions/S", "/a/S/b/G", "/subscriptions/S/resourceGroups/G/providers"])
def test_what_is_no_id_is_refused(text: str) -> None:
    """A wrong id never becomes a request."""
    with pytest.raises(ValueError, match="not the id"):
        ids.parse(text)
