"""Averages of weights after the last phase: what they are, that the best is kept, and that a resume changes nothing."""

import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from adapted import convolutions, moved
from conftest import make_phase, short_form
from frostline.adapters.kinds import Lora
from frostline.adapters.layers import merged
from frostline.commands.train import NOT_HERE
from frostline.errors import PlanError
from frostline.plan.phases import NO_AVERAGE, Average, Plan
from frostline.training.averaging import _mixed
from frostline.training.callbacks.ema import MovingAverage
from frostline.training.finetuner import CHECKPOINT_KEY
from test_finetuner import batches, copied, finetuner
from test_resume import SHORT, STOPPER, _record, _require_equal, _train

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]

BOTH = ["schedule.average.ema_decay=0.6", "schedule.average.wise_ft=[0,0.4,0.8]", "optimizer.lr=1e-3"]


def _averaged(folder: Path, *others: str) -> Path:
    assert _train(folder, *SHORT, STOPPER, *BOTH, f"run_dir={folder}", *others) == 0
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _averaged(tmp_path_factory.mktemp("averaged") / "run")


def test_each_candidate_is_scored_and_the_best_is_tested(whole: Path) -> None:
    record = _record(whole)
    names = [row["name"] for row in record["averages"]]
    assert names == ["ema 0.6", "wise_ft 0", "wise_ft 0.4", "wise_ft 0.8"]
    epochs = [row["val"]["val/accuracy"] for row in record["phases"]]
    averages = [row["val"]["val/accuracy"] for row in record["averages"]]
    assert record["metrics"]["val/accuracy"] == max(epochs + averages)
    assert record["best"]["average"] == (None if max(averages) < max(epochs) else _last_of_the_best(names, averages))


def _last_of_the_best(names: list[str], scores: list[float]) -> str:
    return [name for name, score in zip(names, scores, strict=True) if score == max(scores)][-1]


def test_nothing_of_the_tuned_weights_are_those_before_the_thaw(whole: Path) -> None:
    """The frozen phase ends in them, so its score and that of share 0 are the same."""
    record = _record(whole)
    assert record["averages"][1]["val"] == pytest.approx(record["phases"][0]["val"])


def test_shares_are_mixed_in_proportion_and_counters_are_not() -> None:
    draw = torch.Generator().manual_seed(0)
    before, after = ({"w": torch.randn(5, generator=draw), "steps": torch.tensor(n)} for n in (3, 9))
    mixed = _mixed(before, after, 0.25)
    torch.testing.assert_close(mixed["w"], 0.75 * before["w"] + 0.25 * after["w"])
    assert int(mixed["steps"]) == 9
    assert torch.equal(_mixed(before, after, 1.0)["w"], after["w"])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_of_a_lora_adapter_the_share_is_that_of_its_product(share: float) -> None:
    network = convolutions()
    Lora(4, 8, 0.0, None, False).put_into(network, list(network.blocks))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = merged(network).state_dict()
    after, tuned = moved(network).state_dict(), merged(network).state_dict()
    network.load_state_dict(_mixed(before, {name: value.clone() for name, value in after.items()}, share))
    mixed = merged(network).state_dict()
    for name, value in mixed.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.lerp(plain[name], tuned[name], share))


def test_what_is_tested_is_what_the_best_checkpoint_holds(whole: Path) -> None:
    record = _record(whole)
    content = torch.load(whole / "checkpoints" / "best.ckpt", weights_only=True)
    assert content[CHECKPOINT_KEY]["average"] == record["best"]["average"]
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize(
    "moment", short_form(["train 10", "train 13", "train 16", "validate 6", "validate 8"], "train 13")
)
def test_a_resume_ends_in_the_same_averages(
    moment: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"{moment} {int(signal.SIGTERM)}")
    assert _train(folder, *SHORT, STOPPER, *BOTH, f"run_dir={folder}") == 128 + signal.SIGTERM
    monkeypatch.setenv("STOP_AT", "never 0 0")
    assert _train(folder, f"resume={folder}", "trust=true") == 0
    _require_equal(folder, whole)
    assert _record(folder)["averages"] == _record(whole)["averages"]
    assert _record(folder)["best"] == _record(whole)["best"]


class Steps(L.Callback):
    """The weights after every step of the last phase, and before its first."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen = [copied(pl_module)]

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.global_step > len(self.seen) - 1:
            self.seen.append(copied(pl_module))


def test_the_moving_average_is_the_recursion_over_optimizer_steps(tmp_path: Path) -> None:
    """Averages in float64 of the weights themselves, with gradients accumulated over two batches."""
    phase, ema, steps = (
        make_phase("all", thaw="top", epochs=2, curve="constant"),
        MovingAverage(decay=0.5, phase="all"),
        Steps(),
    )
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", accumulate_grad_batches=2, callbacks=[ema, steps], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    model = finetuner()
    model.enter(phase, 0, 0)
    trainer.fit(model, batches(8, seed=1), batches(2, seed=2))
    assert len(steps.seen) == 1 + 2 * 4
    assert {name.split(".")[1] for name in ema.values if name.startswith("backbone")} == {"blocks"}
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning <= ema.values.keys()
    for name in learning:
        expected = steps.seen[0][name].double()
        for number, after in enumerate(steps.seen[1:], start=1):
            decay = min(0.5, (1 + number) / (10 + number))
            expected = decay * expected + (1 - decay) * after[name].double()
        torch.testing.assert_close(ema.values[name].double(), expected, rtol=1e-5, atol=1e-7)
        assert not torch.equal(ema.values[name], steps.seen[-1][name])
    statistics = [name for name in ema.values if "running" in name and ".top." not in name]
    assert statistics  # of frozen blocks: not moved by a bit
    assert all(torch.equal(ema.values[name], steps.seen[0][name]) for name in statistics)


def test_a_mix_with_the_weights_before_a_thaw_needs_one() -> None:
    plan = Plan((make_phase("head", thaw="none"),), Average(ema_decay=None, wise_ft=[0.5]))
    with pytest.raises(PlanError, match="no phase thaws the backbone"):
        plan.first_thaw(["stem", "top"])
    assert Plan((make_phase("head", thaw="none"), make_phase("all")), NO_AVERAGE).first_thaw(["stem", "top"]) == 1
