"""Two processes rank the samples of each user as one does, whichever process scored them."""

from typing import Any

import pytest

import ranks_worker
from frostline.commands.train import quiet
from ranks_worker import Job
from test_ranks import ALONE, RANKS, _load, _train

pytestmark = pytest.mark.process

ROWS = 131  # shares of unequal size
OWN = ["model=fusion", "data=table", "data._target_=frostline.data.rows.reader.TableRows", "task=regression"]
OWN += ["data.target_columns=[stars]", "data.number_columns=[price]", "data.id_columns=[user,item]"]
OWN += ["data.category_columns=[]", "data.text_columns=[]", "data.image_columns=[]", "head.dropout=0"]
OWN += ["head.drop_names=0", "data.test_fraction=0.4", "data.val_fraction=0.4"]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process and two end with."""
    alone, two = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("two")
    lines = [f"u{i % 3},i{i % 11},{i % 7},{(i * 37) % 13}" for i in range(ROWS)]
    (alone / "stars.csv").write_text("user,item,price,stars\n" + "\n".join(lines) + "\n")
    own = [*OWN, f"data.file={alone / 'stars.csv'}"]
    quiet()
    first = ranks_worker.trained(Job(str(alone / "it"), "full", [*ALONE, *own]))
    _train(two, 2, [Job(str(two / "it"), "full", [*RANKS["ddp"], *own])])
    return [first, _load(two / "it.pt")]


def test_two_ranks_rank_as_one_process(ends: list[dict[str, Any]]) -> None:
    alone, two = ends
    assert alone["scores"]["test/ndcg_users"] == alone["scores"]["test/recall_users"] == 3
    assert two["scores"] == pytest.approx(alone["scores"], abs=1e-4)
    assert 0 < two["scores"]["test/ndcg_10"] < 1
    for row, other in zip(two["val"], alone["val"], strict=True):
        assert row == pytest.approx(other, abs=1e-4)
