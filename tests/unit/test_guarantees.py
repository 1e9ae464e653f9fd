"""Each test that the page of guarantees names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture" / "guarantees.md").read_text()


@pytest.mark.parametrize("named", re.findall(r"`(tests/\S+::\w+)`", PAGE))
def test_a_proof_that_the_guarantees_name_exists(named: str) -> None:
    path, _, name = named.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path} has no {name}"


def test_every_guarantee_names_a_proof() -> None:
    sections = re.split(r"^## \d+\. ", PAGE, flags=re.MULTILINE)[1:]
    assert sections
    assert all("::test_" in section for section in sections)
