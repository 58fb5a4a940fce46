"""What one document can't know of itself: the other objects, and the folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.sources import manifest

PROFILES = "[{name: GPU, type: NC24-A100, minimumCount: 0, maximumCount: 1}]"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "top" / "state"
    folder.mkdir(parents=True)
    (folder.parent / "inference").mkdir()
    (tmp_path / "outside").mkdir()
    return folder


def environment(folder: Path, name: str, *, group: str = "rg", more: str = "") -> None:
    (folder / f"{name}.yaml").write_text(
        f"apiVersion: acaops/v1\nkind: Environment\nmetadata: {{name: {name}}}\nspec:\n"
        f"  subscriptionId: 00000000-0000-0000-0000-000000000000\n  resourceGroup: {group}\n"
        f"  containerApps: {{workloadProfiles: {PROFILES}}}\n{more}"
    )


def app(folder: Path, file: str, *, name: str = "", more: str = "") -> None:
    (folder / f"{file}.yaml").write_text(
        f"apiVersion: acaops/v1\nkind: InferenceApp\nmetadata: {{name: {name or file}}}\nspec:\n"
        f"  environmentRef: west\n  image: python\n  commands: [ls]\n{more}"
    )


def problems(folder: Path) -> list[str]:
    with pytest.raises(manifest.LoadError) as caught:
        manifest.load(folder)
    return [str(problem).replace(f"{folder.parent}/", "") for problem in caught.value.problems]


def test_two_objects_of_one_name_are_refused(state: Path) -> None:
    """Naming the place of the first."""
    environment(state, "west")
    app(state, "a")
    app(state, "b", name="a")

    assert problems(state) == ["state/b.yaml:3:18: InferenceApp a is already at state/a.yaml:1"]


def test_two_apps_of_one_container_app_are_refused(state: Path) -> None:
    """Also by default names."""
    environment(state, "west")
    app(state, "a")
    app(state, "b")

    (problem,) = problems(state)
    assert problem.startswith("state/b.yaml:5:3: comes to the same resource as InferenceApp a at state/a.yaml:1: /subs")
    assert "/containerApps/aiacaapp" in problem


def test_two_environments_of_one_resource_are_refused(state: Path) -> None:
    """All the resources they share in one problem; case doesn't matter; another group shares nothing."""
    environment(state, "one", more="  storage: {accountName: acc}\n")
    environment(state, "two", group="RG", more="  storage: {accountName: acc}\n")
    environment(state, "west", group="other")

    (problem,) = problems(state)
    assert problem.startswith("state/two.yaml:5:3: comes to the same resource as Environment one at state/one.yaml:1: ")
    assert problem.endswith("/resourceGroups/RG/providers/Microsoft.Storage/storageAccounts/acc")


def test_an_unknown_environment_is_refused(state: Path) -> None:
    """At the reference."""
    environment(state, "east")
    app(state, "a")

    assert problems(state) == ["state/a.yaml:5:19: no Environment is called 'west'"]


def test_an_invalid_environment_is_not_called_unknown(state: Path) -> None:
    """It says enough of itself."""
    environment(state, "west", more="  mode: Watch\n")
    app(state, "a")
    app(state, "b", more="  release: Mirror\n  content: [{path: ../inference, target: i}]\n")

    assert problems(state) == ["state/west.yaml:8:9: spec.mode: input should be 'Manage' or 'Observe'"]


def test_an_unknown_workload_profile_is_refused(state: Path) -> None:
    """At the field; Consumption is always there."""
    environment(state, "west")
    app(state, "a", more="  workloadProfileName: T4\n")
    app(state, "b", more="  workloadProfileName: Consumption\n  appName: bb\n")

    assert problems(state) == [
        "state/a.yaml:8:24: Environment west has no workload profile 'T4', only Consumption, GPU"
    ]


def test_what_no_machine_holds_is_refused(state: Path) -> None:
    """At the resources, which only the Environment's profile makes too large; another profile may hold them."""
    environment(state, "west")
    resources = "  resources: {cpu: 24, memory: 440Gi}\n"
    app(state, "a", more=resources)
    app(state, "b", more=f"  appName: other\n  workloadProfileName: Consumption\n{resources}")

    large, small = problems(state)
    assert large == (
        "state/a.yaml:8:14: spec.resources: cpu 24, memory 440Gi: don't fit workload profile GPU (NC24-A100), whose "
        "machines have 24 cores, 220 GiB, 1 GPU; set at most {cpu: 24, memory: 220Gi} or name a larger profile"
    )
    assert small.startswith("state/b.yaml:10:14: spec.resources: ")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("../nowhere", "doesn't exist"),
        (f"../{'n' * 256}", "can't be looked at: File name too long"),
        ("../file.py", "isn't a folder"),
        ("../../outside", "leaves "),
        ("../link", "is a symbolic link, or goes through one"),
        ("../link/sub", "is a symbolic link, or goes through one"),
    ],
)
def test_a_content_folder_must_be_there_and_inside(state: Path, path: str, says: str) -> None:
    """At the path; without git, inside is the state folder's parent."""
    (state.parent / "file.py").write_text("")
    (state.parent / "link").symlink_to("inference")
    (state.parent / "inference" / "sub").mkdir()
    environment(state, "west")
    app(state, "a", more=f"  content:\n    - {{path: {path}, target: x}}\n")

    (problem,) = problems(state)
    assert problem.startswith(f"state/a.yaml:9:14: '{path}' {says}")


def test_in_a_work_tree_inside_is_its_top(state: Path) -> None:
    """`outside` is inside then; git's own folder isn't content."""
    (state.parents[1] / ".git" / "hooks").mkdir(parents=True)
    environment(state, "west")
    app(state, "a", more="  content: [{path: ../../outside, target: x}]\n")
    assert manifest.load(state).apps[0].contents == ((state.parents[1] / "outside", "x"),)

    app(state, "a", more="  content: [{path: ../../.git/hooks, target: x}]\n")
    assert problems(state) == ["state/a.yaml:8:20: '../../.git/hooks' is git's own"]


def test_mirrored_folders_of_two_apps_stay_apart(state: Path) -> None:
    """On one share; bundles don't meet there."""
    environment(state, "west")
    content = "  content: [{path: ../inference, target: %s}]\n"
    app(state, "a", more="  appName: aa\n  release: Mirror\n" + content % "code")
    app(state, "b", more="  appName: bb\n" + content % "code")
    assert len(manifest.load(state).apps) == 2

    app(state, "c", more="  appName: cc\n  release: Mirror\n" + content % "Code/x")
    assert problems(state) == [
        "state/c.yaml:10:42: 'Code/x' equals, holds or lies in 'code' of InferenceApp a at state/a.yaml:1"
    ]


def apps(state: Path, **needs: str) -> None:
    for name, depends_on in needs.items():
        app(state, name, more=f"  appName: {name}{name}\n  dependsOn: [{depends_on}]\n")


def test_a_dependency_that_is_not_there_is_refused(state: Path) -> None:
    """At its entry; an app that is invalid itself isn't called unknown."""
    environment(state, "west")
    apps(state, a="b, c", b="")
    assert problems(state) == ["state/a.yaml:9:18: no InferenceApp is called 'c'"]

    app(state, "c", more="  image: other\n  drift: Ignore\n")
    assert not any("called" in problem for problem in problems(state))


def test_apps_that_wait_for_each_other_are_refused(state: Path) -> None:
    """Each circle once, at the entry that closes it from its first app, naming all on it."""
    environment(state, "west")
    apps(state, a="b", b="c, d", c="e, a", d="d", e="", f="a, e")

    assert problems(state) == [
        "state/a.yaml:9:15: waits for itself: a -> b -> c -> a",
        "state/d.yaml:9:15: waits for itself: d -> d",
    ]


def test_a_chain_is_no_circle(state: Path) -> None:
    """Nor two ways to one app; those that depend on an app are its dependents, like those that stand on an
    environment."""
    environment(state, "west")
    apps(state, a="b, c", b="d", c="d", d="")

    source = manifest.load(state)

    assert source.dependents("InferenceApp", "d") == (("InferenceApp", "b"), ("InferenceApp", "c"))
    assert source.dependents("InferenceApp", "a") == ()
    assert len(source.dependents("Environment", "west")) == 4


def test_a_model_is_told_in_one_place(state: Path) -> None:
    """An env entry of the same name is refused with both places; without spec.model it's the app's own."""
    environment(state, "west")
    env = "  env:\n    - {name: MODE, value: a}\n    - {name: BASE_ONLY, value: '1'}\n"
    app(state, "a", more=f"{env}    - {{name: ADAPTER_DIR, secretRef: s}}\n  secrets: [{{name: s, fromEnv: S}}]\n")
    manifest.load(state)
    more = f"{env}  model:\n    base: models/phi\n"
    app(state, "a", more=more)

    told = "'BASE_ONLY' follows from spec.model at state/a.yaml:11: leave one of them out"
    assert problems(state) == [f"state/a.yaml:10:14: {told}"]
