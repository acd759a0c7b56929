"""Documents that are made from the code are what the code makes now."""

from collections.abc import Callable

import pytest

from shared.cli import metrics_list, settings_list
from shared.cli.doctor import symptoms
from tests.documents import ROOT

MADE = {
    "settings.md": settings_list.as_markdown,
    "metrics.md": metrics_list.as_markdown,
    "symptoms.md": symptoms.as_markdown,
}


@pytest.mark.parametrize("name", MADE)
def test_a_document_made_from_the_code_is_current(name: str) -> None:
    make: Callable[[], str] = MADE[name]
    assert (ROOT / "docs" / name).read_text() == make() + "\n", "run `make docs`"
