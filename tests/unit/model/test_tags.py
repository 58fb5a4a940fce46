"""The facts acaops keeps in tags: owners, digests and the key that mounts the share."""

from __future__ import annotations

import pytest

from controller.model import tags

OWNER = tags.Owner("prod", "InferenceApp", "phi3-chat")
K1, K2, K3, K4 = "1111111111111111", "2222222222222222", "3333333333333333", "4444444444444444"


@pytest.mark.parametrize(
    ("live", "other"),
    [
        ({}, None),
        ({"acaops-owner": "prod/InferenceApp/phi3-chat"}, None),
        ({"acaops-owner": "prod/InferenceApp/other"}, "prod/InferenceApp/other"),
        ({"Acaops-Owner": "dev/InferenceApp/phi3-chat"}, "dev/InferenceApp/phi3-chat"),
        ({"acaops-owner": ""}, ""),
    ],
)
def test_an_owner_is_somebody_else(live: dict[str, str], other: str | None) -> None:
    """Another object, another inventory, or nobody knows who; a resource without the tag is free."""
    assert tags.other_owner(OWNER, live) == other


def test_tags_keep_the_spelling_they_have() -> None:
    """Azure looks at names without case, so that a second spelling would be the same tag."""
    live = {"Team": "chat", "cost": "1"}

    assert tags.spelled({"team": "code", "New": "x"}, live) == {"Team": "code", "New": "x"}
    assert (tags.find("TEAM", live), tags.find("none", live)) == ("chat", None)


def test_a_digest_is_sixteen_hex_digits() -> None:
    """Of text or bytes."""
    assert tags.digest("abc") == tags.digest(b"abc") == "ba7816bf8f01cfea"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (None, None),
        ("", None),
        ("mount", None),
        (":1", None),
        ("mount:", None),
        (f"mount:{K1}", tags.MountKey("mount", K1)),
    ],
)
def test_a_record_reads_as_it_was_written(text: str | None, key: tags.MountKey | None) -> None:
    """An unreadable one is none."""
    assert tags.MountKey.parse(text) == key
    assert key is None or str(key) == text


@pytest.mark.parametrize(
    ("recorded", "keys", "mounted_by"),
    [
        pytest.param(None, (K1, K2), f"mount:{K1}", id="first"),
        pytest.param(f"mount:{K1}", (K1, K2), f"mount:{K1}", id="same"),
        pytest.param(f"mount:{K1}", (K3, K1), f"mount:{K1}", id="the other key is ours"),
        pytest.param(f"mount:{K1}", (K3, K2), f"mount-33333333:{K3}", id="rotated"),
        pytest.param(f"mount-33333333:{K3}", (K3, K2), f"mount-33333333:{K3}", id="rotated, recorded"),
        pytest.param(f"mount-33333333:{K3}", (K4, K2), f"mount-44444444:{K4}", id="rotated again"),
        pytest.param(f"mount:{K1}", None, f"mount:{K1}", id="unreadable keys"),
        pytest.param(f"mount:{K1}", (), f"mount:{K1}", id="no keys"),
        pytest.param(None, None, None, id="nothing known"),
        pytest.param("garbage", (K1, K2), f"mount:{K1}", id="unreadable record"),
        pytest.param(f"other:{K1}", (K1, K2), f"mount:{K1}", id="another storage wanted now"),
        pytest.param(f"other:{K1}", None, None, id="another storage wanted now, unreadable keys"),
        pytest.param(f"mount-extra:{K1}", (K3, K2), f"mount:{K3}", id="not rolled from this one"),
    ],
)
def test_the_storage_that_mounts(recorded: str | None, keys: tuple[str, ...] | None, mounted_by: str | None) -> None:
    """No roll while the recorded digest matches either key; else a new name, always from the plain one."""
    key = tags.mount_key("mount", recorded=recorded, keys=keys)

    assert (str(key) if key else None) == mounted_by
