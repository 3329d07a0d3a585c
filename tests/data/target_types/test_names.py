"""Names that may mean the same."""

import pytest

from frostline.data.target_types.names import alike_notes


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["Pos", "pos"], ["'Pos' and 'pos'"]),
        (["0", "+0", "1", "01", "1.0"], ["'0' and '+0'", "'1' and '01' and '1.0'"]),
        (["True", "true", "1"], ["'True' and 'true' and '1'"]),
        (["nan", "None"], ["'nan' and 'None'"]),
        (["pos", "pos\u200b"], ["'pos'"]),
        (["new york", "New_York", "new-york"], ["'new york' and 'New_York' and 'new-york'"]),
        (["A", "A-", "A+", "B"], []),
        (["cat", "dog"], []),
    ],
)
def test_names_that_may_be_one_class_are_told(names: list[str], alike: list[str]) -> None:
    notes = alike_notes(names, "classes")
    assert len(notes) == bool(alike)
    assert all(pair in notes[0] and notes[0].startswith("classes that may mean the same") for pair in alike)
