"""The head of columns: what it adds up, what is missing, and what it draws while training."""

from typing import Any

import pytest
import torch
from torch import Tensor

from frostline.contracts.features import UNKNOWN, Features
from frostline.heads.fusion import FusionHead

ROW = {
    "numbers": {"age": {"missing": True}, "size": {"missing": False}},
    "names": {"breed": {"known": ["a", "b"], "missing": True}, "user": {"known": ["u"] * 5, "missing": False}},
}
FEATURES = Features("parts", (6, 4), columns=("image/photo", "text/about"), row=ROW)
PLAIN: dict[str, Any] = {"width": 8, "hidden": [16], "dropout": 0.0, "drop_columns": 0.0, "drop_names": 0.0}


def features(number: int = 5, *, empty: bool = False) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(0)
    row = {
        "numbers": torch.randn(number, 2, generator=draw),
        "flags": torch.zeros(number, 1),
        "names": torch.stack([torch.arange(number) % 4, torch.arange(number) % 7], 1),
        "absent": torch.full((number, 2), empty),
    }
    own = {"image/photo": torch.randn(number, 6, generator=draw), "text/about": torch.randn(number, 4, generator=draw)}
    return own | {"row": row}


def head(**settings: Any) -> FusionHead:
    torch.manual_seed(0)
    made = FusionHead(FEATURES, 3, **{**PLAIN, **settings})
    return made


def test_outputs_are_those_of_the_formula() -> None:
    own, given = head(), features()
    row = given["row"]
    vectors: list[Tensor] = [own.projections[0](given["image/photo"]), own.projections[1](given["text/about"])]
    assert own.numbers is not None
    assert own.slopes is not None
    measured = torch.cat([row["numbers"], row["flags"]], 1)
    vectors.append(own.numbers(measured))
    vectors += [own.embeddings[place](row["names"][:, place]) for place in (0, 1)]
    pairs = [a * b for place, a in enumerate(vectors) for b in vectors[place + 1 :]]
    expected = own.layers(torch.cat([*vectors, torch.stack(pairs).sum(0)], 1))
    assert torch.equal(own.offsets[0].weight, torch.zeros(4, 3)), "an offset begins at 0"
    torch.testing.assert_close(own(given), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        own.offsets[1].weight[3] = 2.0  # type: ignore[operator, index]
    shifted = own(given) - expected
    assert shifted[3].tolist() == pytest.approx([2.0] * 3, abs=1e-4)
    assert shifted[[0, 1, 2, 4]].abs().max() < 1e-4


def test_numbers_are_not_rounded_to_the_precision_of_the_network() -> None:
    own, given = head(), features()
    towers = {name: value.bfloat16() for name, value in given.items() if name != "row"}
    expected = own(given | {name: value.float() for name, value in towers.items()})
    with torch.autocast("cpu", torch.bfloat16):
        outputs = own(given | towers)
    assert outputs.dtype == torch.float32
    assert torch.equal(outputs, expected)


def test_features_of_an_empty_column_do_not_matter() -> None:
    own = head()
    first, second = features(empty=True), features(empty=True)
    second["image/photo"] = torch.full((5, 6), 9.0)
    assert torch.equal(own(first), own(second))
    without = {name: value for name, value in first.items() if name != "text/about"}
    assert torch.equal(own(first), own(without)), "as if no row of a prediction has one"
    loss = own(first).sum()
    loss.backward()
    assert own.absent.grad is not None
    assert own.absent.grad.abs().sum() > 0
    assert own.projections[0][0].weight.grad.abs().sum() == 0  # type: ignore[index]


def test_while_training_columns_count_as_missing_and_names_as_unknown() -> None:
    given = features(4000)
    columns = head(drop_columns=0.25).train()
    with torch.no_grad():
        columns.absent.fill_(1e6)
        changed = (columns(given) - columns.eval()(given)).abs().sum(1) > 1e-3
    assert pytest.approx(float(changed.float().mean()), abs=0.03) == 1 - 0.75**2
    names = head(drop_names=0.25).train()
    with torch.no_grad():
        for offset in names.offsets:
            offset.weight[UNKNOWN] = 1e6  # type: ignore[operator, index]
        known = (given["row"]["names"] != UNKNOWN).all(1)
        unknown = names(given)[known].abs().amax(1) > 1e5
        assert float(unknown.float().mean()) == pytest.approx(1 - 0.75**2, abs=0.03)
        assert not (names.eval()(given)[known].abs().amax(1) > 1e5).any()


def test_a_head_of_numbers_or_of_names_alone() -> None:
    for row in ({"numbers": ROW["numbers"], "names": {}}, {"numbers": {}, "names": ROW["names"]}):
        own = FusionHead(Features("parts", (), row=row), 2, **PLAIN)
        given = dict(features()["row"])
        given["absent"] = given["absent"][:, :0]
        given["numbers"] = given["numbers"][:, : len(row["numbers"])]
        given["flags"] = given["flags"][:, : len(row["numbers"])]
        given["names"] = given["names"][:, : len(row["names"])]
        assert own({"row": given}).shape == (5, 2)
