"""Declared resources with their values, and what only a deployment would tell."""

from __future__ import annotations

import pytest

from controller.migration import bicep
from controller.model import identity

GROUP = "/subscriptions/s/resourceGroups/g"

TEXT = r"""
param names array
param suffix string = substring(uniqueString(resourceGroup().id), 0, 5)
param own string = 'store${suffix}'
param location string = resourceGroup().location
param loop string = loop
var start = join(names, '; ')

resource account 'Microsoft.Storage/storageAccounts@2023-01-01' existing = {
  name: 'other'
}

resource store 'microsoft.storage/storageAccounts@2023-01-01' = {
  name: own
  location: location
  properties: {
    command: ['-c', start]
    quoted: 'it\'s ${own} for \${HOME} \\n\u{41}'
    verbatim: '''it's ${own} \n'''
    id: account.id
    mixed: 'a ${account.name}'
    choice: true ? 1 : 2
    loop: loop
    number: 24
    none: null
  }
}
"""


def properties(**parameters: object) -> dict[str, object]:
    found = bicep.Bicep(TEXT, parameters=parameters, group_id=GROUP).resource("Microsoft.Storage/storageAccounts")
    assert found is not None
    return {"name": found["name"], "location": found["location"], **found["properties"]}


def test_what_is_known_is_evaluated() -> None:
    """Parameters, defaults, variables, interpolation, ARM's own hash, and all ways of quoting."""
    suffix = identity.unique_string(GROUP)[:5]
    found = properties(names=["a", "b"])
    assert found["name"] == f"store{suffix}"
    assert found["command"] == ["-c", "a; b"]
    assert found["quoted"] == f"it's store{suffix} for ${{HOME}} \\nA"
    assert found["verbatim"] == "it's ${own} \\n"
    assert (found["number"], found["none"]) == (24, None)


def test_a_parameter_goes_before_its_default_unless_it_is_null() -> None:
    """As in a deployment by the editor, which leaves nulls out."""
    assert properties(names=[], own="mine", suffix=None)["name"] == "mine"
    assert properties(names=[], suffix="x", own=None)["name"] == "storex"


def test_the_rest_is_unknown() -> None:
    """What other resources say, expressions, a parameter without a value or that stands on itself."""
    found = properties()
    for key in ("location", "id", "mixed", "choice", "loop"):
        assert found[key] is bicep.UNKNOWN, key
    assert found["command"] == ["-c", bicep.UNKNOWN]


def test_what_is_no_bicep_says_where() -> None:
    """Line and column."""
    with pytest.raises(bicep.BicepError) as caught:
        bicep.Bicep("param a string\nparam = b\n", parameters={}, group_id=GROUP)
    assert (caught.value.line, caught.value.column) == (2, 7)


def test_lists_and_texts_are_put_together() -> None:
    """As a start command is, of commands of which the last one is quoted."""
    text = r"""
param lines array
var quoted = replace(last(lines), '\'', '"')
var all = concat(['first'], take(lines, length(lines) - 1), ['-c ${quoted}'])
resource store 'a/b@1' = {
  name: 'x'
  properties: { all: join(all, ' && '), none: concat(lines, other.list) }
}
"""
    found = bicep.Bicep(text, parameters={"lines": ["a", "b", "c 'd'"]}, group_id=GROUP).resource("a/b")
    assert found is not None
    assert found["properties"] == {"all": 'first && a && b && -c c "d"', "none": bicep.UNKNOWN}
