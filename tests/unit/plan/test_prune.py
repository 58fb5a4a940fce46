"""What goes and what stays of objects that are no longer desired: tags, policy, order, and the guard on masses."""

from __future__ import annotations

from typing import Any

import pytest

from controller.model import observed, outcome, tags
from controller.model.kinds import Kind
from controller.plan import prune

GROUP = "/subscriptions/s/resourceGroups/rg"
TYPES = {
    Kind.APP: "Microsoft.App/containerApps",
    Kind.ENVIRONMENT: "Microsoft.App/managedEnvironments",
    Kind.WORKSPACE: "Microsoft.OperationalInsights/workspaces",
    Kind.ACCOUNT: "Microsoft.Storage/storageAccounts",
}
CHAT = tags.Owner("one", "InferenceApp", "chat")
WEST = tags.Owner("one", "Environment", "west")


def live(kind: Kind, name: str, owner: tags.Owner | str | None, **facts: Any) -> observed.Resource:
    """One we created with policy Delete; `facts` are tags by their last word (None removes), and `properties`."""
    properties = {"provisioningState": "Succeeded", **facts.pop("properties", {})}
    ours = {"owner": owner, "origin": "created", "deletion": "Delete", **facts}
    told = {f"acaops-{word}": str(value) for word, value in ours.items() if value is not None}
    identity = f"{GROUP}/providers/{TYPES[kind]}/{name}"
    return observed.Resource({"id": identity, "name": name, "tags": told, "properties": properties})


def app(name: str = "chat", owner: tags.Owner | str | None = CHAT, **facts: Any) -> observed.Resource:
    environment = {"environmentId": f"{GROUP}/providers/{TYPES[Kind.ENVIRONMENT]}/ENV"}
    return live(Kind.APP, name, owner, **{"properties": environment, **facts})


def share(name: str, account: str = "acct") -> observed.Resource:
    return observed.Resource({"id": f"{account_id(account)}/fileServices/default/shares/{name}", "name": name})


def account_id(name: str = "acct") -> str:
    return f"{GROUP}/providers/{TYPES[Kind.ACCOUNT]}/{name}"


def seen(*resources: observed.Resource, **facts: Any) -> prune.Seen:
    found: dict[Kind, tuple[observed.Resource, ...]] = {
        kind: tuple(one for one in resources if f"/{word}/" in one.id) for kind, word in TYPES.items()
    }
    return prune.Seen(found, **facts)


def west(**facts: Any) -> tuple[observed.Resource, ...]:
    """An Environment's resources; its tags of policy are on the account."""
    logs = {"appLogsConfiguration": {"logAnalyticsConfiguration": {"customerId": "guid"}}}
    return (
        live(Kind.ENVIRONMENT, "env", WEST, deletion=None, properties=logs),
        live(Kind.WORKSPACE, "logs", WEST, deletion=None, properties={"customerId": "guid"}),
        live(Kind.ACCOUNT, "acct", WEST, **facts),
    )


def with_share(*resources: observed.Resource, shares: tuple[str, ...] = ("models",), **facts: Any) -> prune.Seen:
    found = tuple(map(share, shares))
    return seen(*resources, shares={account_id().lower(): found}, **facts)


def states(made: tuple[prune.Step, ...]) -> dict[str, tuple[str, str]]:
    return {step.name: (step.state, step.why) for step in made}


def test_what_is_gone_goes_and_what_is_desired_stays() -> None:
    """An object is its inventory, kind and name."""
    other = tags.Owner("two", "InferenceApp", "chat")
    there = seen(app(), app("b", tags.Owner("one", "InferenceApp", "b")), app("c", other), app("d", None))
    desired = {("InferenceApp", "b"), ("Environment", "west")}
    made = prune.plan(there, inventory="one", desired=desired, mass=False)
    assert states(made.ready) == {"chat": ("Delete", "")}
    assert (made.held, made.going) == ("", True)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"origin": "adopted"}, "it was there before (adopted)"),
        ({"origin": None}, "nothing says who created it (tag acaops-origin)"),
        ({"deletion": "Retain"}, "deletionPolicy Retain"),
        ({"deletion": None}, "no deletionPolicy is recorded (tag acaops-deletion)"),
    ],
)
def test_what_stays(facts: dict[str, Any], why: str) -> None:
    """Only what was created for the object, whose own policy says Delete, ever goes."""
    made = prune.plan(seen(app(**facts)), inventory="one", desired={("Environment", "e")}, mass=True)
    assert states(made.steps) == {"chat": ("Kept", why)}
    assert (made.ready, made.going) == ((), False)


@pytest.mark.parametrize("owner", ["one/InferenceApp", "one/Environment/chat", "one/Job/chat", "one/InferenceApp/a/b"])
def test_a_tag_that_is_none_of_ours(owner: str) -> None:
    """An owner tag in another form, or on the wrong kind of resource, is nobody's."""
    assert prune.owners(seen(app(owner=owner))) == ()


def test_owners_of_all_inventories() -> None:
    """Sorted, each once."""
    there = seen(*west(), app(), app("b", tags.Owner("two", "InferenceApp", "b")))
    assert [str(one) for one in prune.owners(there)] == [
        "one/Environment/west",
        "one/InferenceApp/chat",
        "two/InferenceApp/b",
    ]
    assert prune.owners(there, inventory="two") == (tags.Owner("two", "InferenceApp", "b"),)


def test_tag_names_have_no_case() -> None:
    """Azure looks at them without."""
    one = app()
    body = {**one.body, "tags": {name.upper(): value for name, value in one.tags.items()}}
    assert states(prune.steps(CHAT, seen(observed.Resource(body)))) == {"chat": ("Delete", "")}


@pytest.mark.parametrize("state", ["Deleting", "ScheduledForDelete"])
def test_what_is_going_already(state: str) -> None:
    """No second deletion is sent."""
    made = prune.steps(CHAT, seen(app(properties={"provisioningState": state})))
    assert states(made) == {"chat": ("Deleting", "containerApp chat is being deleted")}


def test_what_another_object_names_stays() -> None:
    """A renamed object's resources are wanted under its new name."""
    there = seen(app(), named={app().id.lower(): "InferenceApp/talk"})
    assert states(prune.steps(CHAT, there)) == {"chat": ("Kept", "InferenceApp/talk of the desired state names it")}
    ours = seen(app(), named={app().id.lower(): "InferenceApp/chat"})
    assert states(prune.steps(CHAT, ours)) == {"chat": ("Delete", "")}


def test_an_environment_goes_from_the_top() -> None:
    """Apps, environment, workspace, share, account: each once nothing stands on it any more."""
    environment, workspace, account = west()
    stranger = app("theirs", "two/InferenceApp/theirs")
    at_first = states(prune.steps(WEST, with_share(environment, workspace, account, stranger, app())))
    assert at_first == {
        "env": ("Waiting", "still in use by chat, theirs"),
        "logs": ("Waiting", "still in use by env"),
        "models": ("Waiting", "waiting for managedEnvironment env"),
        "acct": ("Waiting", "waiting for managedEnvironment env"),
    }
    elsewhere = app("far", None, properties={"managedEnvironmentId": f"{GROUP}/other"})
    then = states(prune.steps(WEST, with_share(environment, workspace, account, elsewhere)))
    assert (then["env"], then["logs"][0]) == (("Delete", ""), "Waiting")
    then = states(prune.steps(WEST, with_share(workspace, account)))
    assert (then["logs"], then["models"][1]) == (("Delete", ""), "waiting for workspace logs")
    assert states(prune.steps(WEST, with_share(account))) == {
        "models": ("Delete", ""),
        "acct": ("Waiting", "waiting for fileShare models"),
    }
    assert states(prune.steps(WEST, with_share(account, shares=()))) == {"acct": ("Delete", "")}
    assert states(prune.steps(WEST, seen(account))) == {"acct": ("Waiting", "its shares aren't known")}


@pytest.mark.parametrize("policy", ["Retain", None])
def test_an_environment_stays_by_its_policy(policy: str | None) -> None:
    """The account tells the policy for all of them; without it they stay."""
    made = prune.steps(WEST, with_share(*west(deletion=policy)))
    assert {step.state for step in made} == {"Kept"}
    assert [step.name for step in made] == ["env", "logs", "acct"]


def test_without_its_account_an_environment_stays() -> None:
    """And so it does where two accounts disagree."""
    environment, workspace, account = west()
    second = live(Kind.ACCOUNT, "more", WEST, deletion="Retain")
    for there in (seen(environment, workspace), seen(environment, workspace, account, second)):
        assert {step.state for step in prune.steps(WEST, there)} == {"Kept"}


def test_a_policy_may_be_given() -> None:
    """It counts instead of the recorded one; who created it still matters."""
    assert states(prune.steps(CHAT, seen(app(deletion="Retain")), policy="Delete"))["chat"] == ("Delete", "")
    assert states(prune.steps(CHAT, seen(app(origin="adopted")), policy="Delete"))["chat"][0] == "Kept"
    kept = prune.steps(WEST, with_share(*west()), policy="Retain")
    assert {step.why for step in kept} == {"deletionPolicy Retain"}


def test_an_adopted_account_keeps_its_share_and_lets_the_rest_go() -> None:
    """The policy stands on it all the same."""
    environment, workspace, account = west(origin="adopted")
    made = states(prune.steps(WEST, with_share(environment, workspace, account)))
    assert made["env"] == ("Delete", "")
    assert made["acct"] == ("Kept", "it was there before (adopted)")
    assert "models" not in made


def test_an_account_with_more_shares_stays_whole() -> None:
    """Of two shares nothing says which is whose."""
    made = states(prune.steps(WEST, with_share(west()[2], shares=("models", "photos"))))
    assert made == {"acct": ("Kept", "it holds more shares than its object's: models, photos")}


def test_a_mounted_account_stays() -> None:
    """Also where the environment is somebody else's."""

    def mount(account: str | None) -> dict[str, tuple[observed.Resource, ...]]:
        file = {"azureFile": {"accountName": account}} if account else {}
        return {f"{GROUP}/adopted".lower(): (observed.Resource({"name": "mount", "properties": file}),)}

    account = west()[2]
    why = "environment adopted mounts it as mount"
    assert states(prune.steps(WEST, with_share(account, storages=mount("ACCT"))))["acct"] == ("Waiting", why)
    for other in ("elsewhere", None):
        assert states(prune.steps(WEST, with_share(account, storages=mount(other))))["models"] == ("Delete", "")


def test_a_workspace_without_an_id_is_used_by_nobody() -> None:
    """One that is just being made has none."""
    workspace = live(Kind.WORKSPACE, "logs", WEST, deletion=None)
    quiet = live(Kind.ENVIRONMENT, "quiet", None)
    assert states(prune.steps(WEST, with_share(west()[2], workspace, quiet)))["logs"] == ("Delete", "")


def test_an_empty_desired_state_deletes_nothing() -> None:
    """No flag says otherwise."""
    made = prune.plan(seen(app()), inventory="one", desired=(), mass=True)
    assert made.ready == ()
    assert made.held == "nothing is desired in inventory one: 1 object would be deleted, and none is"


def test_half_may_go_and_more_may_not() -> None:
    """Counted in objects, not in resources; those that stay anyway don't count."""
    apps = [app(name, tags.Owner("one", "InferenceApp", name)) for name in ("a", "b", "c")]
    retained = [app(f"r{n}", tags.Owner("one", "InferenceApp", f"r{n}"), deletion="Retain") for n in range(9)]
    desired = {("Environment", "west"), ("InferenceApp", "d")}
    half = prune.plan(seen(*apps[:2], *retained), inventory="one", desired=desired, mass=False)
    assert (len(half.ready), half.held) == (2, "")
    most = prune.plan(seen(*apps), inventory="one", desired=desired, mass=False)
    told = "3 of 5 objects of inventory one would be deleted, more than half: allow it by --allow-mass-delete"
    assert (most.ready, most.held) == ((), told)
    assert prune.plan(seen(*apps), inventory="one", desired=desired, mass=True).ready


def test_an_app_waits_for_another_of_its_environment() -> None:
    """A second deletion there would be refused; other environments don't wait for it."""

    def named(name: str, **facts: Any) -> observed.Resource:
        return app(name, tags.Owner("one", "InferenceApp", name), **facts)

    far = {"environmentId": f"{GROUP}/far"}
    there = seen(
        named("a", properties={**far, "provisioningState": "Deleting"}), named("b"), named("c", properties=far)
    )
    made = prune.plan(there, inventory="one", desired={("InferenceApp", str(n)) for n in range(9)}, mass=False)
    assert states(made.steps)["c"] == ("Waiting", "after containerApp a, in the same environment")
    assert [step.name for step in made.ready] == ["b"]


def test_what_is_read_once_more_counts() -> None:
    """A resource, and a share, that changed or went since they were listed."""
    first = with_share(*west(), app())
    assert prune.steps(CHAT, first.afresh(Kind.APP, app().id.upper(), None)) == ()
    tagless = live(Kind.APP, "chat", None)
    assert prune.steps(CHAT, first.afresh(Kind.APP, app().id, tagless)) == ()
    alone = with_share(west()[2])
    assert states(prune.steps(WEST, alone.afresh(Kind.SHARE, share("models").id, None))) == {"acct": ("Delete", "")}
    same = alone.afresh(Kind.SHARE, share("models").id, share("models"))
    assert prune.steps(WEST, same) == prune.steps(WEST, alone)


def test_shown_like_other_plans() -> None:
    """By object: what goes, what waits and for what, what is going; what stays is told apart."""
    going = app("old", tags.Owner("one", "InferenceApp", "old"), properties={"provisioningState": "Deleting"})
    there = with_share(*west(), app(), going, app("keep", tags.Owner("one", "InferenceApp", "keep"), deletion="Retain"))
    desired = {("InferenceApp", str(n)) for n in range(9)}
    made = prune.plan(there, inventory="one", desired=desired, mass=False)
    shown = prune.shown(made)
    assert list(shown) == ["Environment/west", "InferenceApp/chat", "InferenceApp/keep", "InferenceApp/old"]
    (chat,), (old,), (keep,) = (shown[f"InferenceApp/{name}"].steps for name in ("chat", "old", "keep"))
    assert chat.ready is not None
    assert (chat.ready.verb, chat.ready.reason) == ("Delete", "no longer desired")
    assert (old.action, old.blocked) == (
        None, outcome.InProgress("Progressing", "containerApp old is being deleted")
    )  # fmt: skip
    assert (keep.action, keep.blocked) == (None, None)
    assert all(isinstance(step.blocked, outcome.Waiting) and step.action for step in shown["Environment/west"].steps)
    assert prune.kept(made.steps) == ("InferenceApp/keep: containerApp keep stays: deletionPolicy Retain",)
    held = prune.shown(prune.plan(there, inventory="one", desired=(), mass=False))
    assert isinstance(held["InferenceApp/chat"].steps[0].blocked, outcome.Stalled)
