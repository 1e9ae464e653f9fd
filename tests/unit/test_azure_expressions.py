"""The template language as the stand-in reads it."""

from typing import Any

import pytest

from lpm.local.azure.errors import AzureError
from lpm.local.azure.expressions import Scope, UnknownValueError, evaluate

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"


def reference(resource_id: str, whole: bool) -> Any:
    if "unknown" in resource_id:
        raise UnknownValueError
    return {"identity": {"principalId": f"identity of {resource_id}"}} if whole else {"state": "ok"}


SCOPE = Scope(
    subscription_id=SUBSCRIPTION,
    group={"id": GROUP, "name": "rg", "location": "westeurope"},
    parameters={"name": "ns", "map": {"a-b": {"server": "s1"}}, "list": ["x", "y"], "o'clock": 1},
    variables={"role": "[format('{0}/{1}', parameters('name'), 'r')]", "loop": "[variables('loop')]"},
    reference=reference,
)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("plain", "plain"),
        ("[[not an expression]", "[not an expression]"),
        ("[starts only", "[starts only"),
        ("[parameters('name')]", "ns"),
        ("[ concat( parameters('name') , '/', 'x' ) ]", "ns/x"),
        ("[concat(parameters('list'), parameters('list'))]", ["x", "y", "x", "y"]),
        ("[format('{0}-{1}-{0}', 'a', 7)]", "a-7-a"),
        ("[parameters('map')['a-b'].server]", "s1"),
        ("[parameters('list')[1]]", "y"),
        ("['it''s']", "it's"),
        ("[contains(parameters('list'), 'x')]", True),
        ("[contains(parameters('list'), 'z')]", False),
        ("[parameters('o''clock')]", 1),
        ("[variables('role')]", "ns/r"),
        ("[RESOURCEGROUP().location]", "westeurope"),
        ("[subscription().subscriptionId]", SUBSCRIPTION),
        ("[resourceId('A.B/c', 'd')]", f"{GROUP}/providers/A.B/c/d"),
        ("[resourceId('A.B/c/d', 'x', 'y')]", f"{GROUP}/providers/A.B/c/x/d/y"),
        (
            "[resourceId('other', 'A.B/c', 'd')]",
            f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other/providers/A.B/c/d",
        ),
        ("[subscriptionResourceId('A.B/c', 'd')]", f"/subscriptions/{SUBSCRIPTION}/providers/A.B/c/d"),
        ("[reference(resourceId('A.B/c', 'd')).state]", "ok"),
        (
            "[reference(resourceId('A.B/c', 'd'), '2020-01-01', 'Full').identity.principalId]",
            f"identity of {GROUP}/providers/A.B/c/d",
        ),
    ],
)
def test_an_expression_has_the_value_that_azure_gives_it(expression: str, value: Any) -> None:
    assert evaluate(expression, SCOPE) == value


def test_expressions_are_computed_however_deep_they_lie() -> None:
    assert evaluate({"a": [{"b": "[parameters('name')]"}], "c": 1}, SCOPE) == {"a": [{"b": "ns"}], "c": 1}


def test_guid_is_a_function_of_its_arguments() -> None:
    first = evaluate("[guid('a', 'b')]", SCOPE)
    assert first == evaluate("[guid('a', 'b')]", SCOPE) != evaluate("[guid('a', 'c')]", SCOPE)


def test_a_value_that_is_not_known_yet_stays_as_its_expression_when_asked_to() -> None:
    text = "[reference(resourceId('A.B/unknown', 'd')).state]"
    assert evaluate([text], SCOPE, keep_unknown=True) == [text]
    with pytest.raises(UnknownValueError):
        evaluate(text, SCOPE)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("[uniqueString('a')]", "'uniqueString' is not one this stand-in knows"),
        ("[parameters('nmae')]", "parameter 'nmae' is not found"),
        ("[variables('rol')]", "variable 'rol' is not found"),
        ("[variables('loop')]", "'loop' needs itself"),
        ("[parameters('map').server]", "property 'server' does not exist; available: a-b"),
        ("[resourceId('A.B/c/d', 'x')]", "has 2 segments but 1 names"),
        ("[resourceId('nothing')]", "needs a resource type"),
        ("[concat('a']x]", "expected ','"),
        ("[concat('a']", "ends too early"),
        ("[parameters('name') extra]", "unexpected 'extra'"),
        ("[parameters()]", "wrong arguments for 'parameters'"),
        ("[format('{1}', 'a')]", "wrong arguments for 'format'"),
        ("[a ? b]", "cannot read"),
        ("[reference('x', 'y', 'Half')]", "'Full'"),
    ],
)
def test_a_wrong_expression_is_refused_and_the_fault_named(expression: str, said: str) -> None:
    with pytest.raises(AzureError) as caught:
        evaluate(expression, SCOPE)
    assert caught.value.code == "InvalidTemplate"
    assert said in caught.value.message
