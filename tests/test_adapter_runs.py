"""Runs with an adapter: what learns, that their checkpoints bring them back, and old weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import DEVICE, Answer, short_form
from frostline.adapters.layers import adapter_names
from frostline.backbones.bundled import BundledBackbone
from frostline.commands.evaluate import evaluate
from frostline.commands.train import NOT_HERE
from frostline.errors import FrostlineError
from frostline.runs.folder import read_run
from frostline.training.build import build
from frostline.training.forecast import planned
from frostline.training.init_from import init_from
from test_run import SHORT, _record, _train
from test_text_runs import minilm

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
EVERY_KIND = ["lora", "dora", "ia3"]
KINDS = short_form(EVERY_KIND, "lora")
CONVOLUTIONS = 10  # of the bundled network
QUICK = [split for split in SHORT if not split.startswith("schedule")]


class Runs(dict[str, Path]):
    """A run with each kind of adapter, trained when a test asks for it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, kind: str) -> Path:
        self[kind] = _train(self.folder / kind, f"adapter={kind}")
        return self[kind]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("adapted"))


def state(run: Path, name: str = "last") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return content["state_dict"]  # type: ignore[no-any-return]


def pretrained() -> dict[str, torch.Tensor]:
    return {f"backbone.{name}": value for name, value in BundledBackbone(weights="bundled").named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_stays_as_it_was_to_the_bit_and_adapters_and_head_learn(kind: str, runs: Runs) -> None:
    after, before = state(runs[kind]), pretrained()
    rests = {name.replace("base_layer.", ""): value for name, value in after.items()}
    assert len(before) == 30
    assert [name for name, value in before.items() if not torch.equal(rests[name], value)] == []
    learned = [value for name, value in after.items() if "lora_B" in name or "ia3_l" in name]
    assert len(learned) == CONVOLUTIONS
    assert all(value.ne(0 if kind != "ia3" else 1).any() for value in learned)
    head, everything = _record(runs[kind])["phases"]
    assert everything["learns"] == ["head", "stage3", "stage2", "stage1", "stem"]
    own = sum(value.numel() for name, value in after.items() if "lora_" in name or "ia3_" in name)
    assert everything["trainable_parameters"] == head["trainable_parameters"] + own


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_builds_the_run_anew_and_gives_the_very_same_numbers(
    kind: str, runs: Runs, composed: Callable[..., Any]
) -> None:
    recorded = {name: value for name, value in _record(runs[kind])["metrics"].items() if name.startswith("test/")}
    assert evaluate(composed(f"run={runs[kind]}", config="evaluate"), *read_run(runs[kind])) == recorded
    assert recorded["test/accuracy"] > 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_those_of_the_trained_network(
    kind: str, runs: Runs, tmp_path: Path, program: Callable[..., Answer]
) -> None:
    """Without its adapters the network would be another one: `none` stands for it."""
    from PIL import Image

    Image.radial_gradient("L").save(tmp_path / "it.png")
    said = {}
    for name in (kind, "none"):
        answer = program(
            "predict", f"run={runs[name]}", f"input={tmp_path / 'it.png'}", f"output={tmp_path / name}.csv"
        )
        assert answer.code == 0, answer.err
        said[name] = (tmp_path / f"{name}.csv").read_text()
    assert said[kind] != said["none"]


def test_what_is_drawn_after_it_is_what_it_was_without(composed: Callable[..., Any]) -> None:
    def built(*overrides: str) -> Any:
        torch.manual_seed(0)
        return build(composed(*SHORT, *overrides, "run_dir=none"), logs=False).model

    def factors(model: Any) -> list[torch.Tensor]:
        return [value for name, value in model.state_dict().items() if "lora_A" in name]

    with_one, without = built("adapter=lora"), built()
    assert all(torch.equal(a, b) for a, b in zip(with_one.head.parameters(), without.head.parameters(), strict=True))
    drawn = factors(with_one)
    assert len(drawn) == CONVOLUTIONS
    again, other = factors(built("adapter=lora", "model.weights=null")), factors(built("adapter=lora", "seed=1"))
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(drawn, other, strict=True))


def test_the_plan_tells_what_learns_and_less_memory(composed: Callable[..., Any]) -> None:
    rows = {
        kind: planned(build(composed(*SHORT, f"adapter={kind}", "run_dir=none"), logs=False))[1]
        for kind in ("none", *EVERY_KIND)
    }
    counts = [rows[kind].parameters for kind in ("ia3", "lora", "dora", "none")]
    assert counts == sorted(set(counts))
    assert rows["ia3"].parameters == 208 * 10 + 10 + 16 + 3 * (48 + 112 + 208)
    assert rows["lora"].memory < rows["none"].memory


def test_adapters_stand_only_where_some_phase_thaws(composed: Callable[..., Any]) -> None:
    model = build(composed(*QUICK, "adapter=lora", "schedule=last_block", "run_dir=none"), logs=False).model
    assert {name.split(".")[1] for name in adapter_names(model.backbone)} == {"stage3"}


# --- texts ---


@pytest.mark.long
def test_an_adapter_in_a_real_text_network_learns_beside_it_and_reloads(
    composed: Callable[..., Any], tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROSTLINE_DATA_DIR", str(shared))
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))
    own = ["model=minilm", minilm(), "data=trec6", "data.train_limit=400", "schedule=adapters", "optimizer.lr=5e-3"]
    own += [
        "schedule.phases.head.epochs=3",
        "schedule.every_phase.solve=false",
        "schedule.phases.adapters.epochs=3",
        *DEVICE,
        "logger=none",
    ]
    run = _train(tmp_path / "run", short=own)
    record, after = _record(run), state(run)
    head, adapters = record["phases"]
    before = build(composed(*own, "run_dir=none"), logs=False).model.state_dict()
    rests = [name for name in before if "lora_" not in name and not name.startswith("head.")]
    assert len(rests) == 3 + 2 + 6 * 16  # embeddings, their norm, and 6 layers
    assert all(torch.equal(after[name], before[name]) for name in rests)
    own_parameters = 6 * 8 * (4 * 2 * 384 + 2 * (384 + 1536))  # rank 8 beside 4 square and 2 wide layers
    assert adapters["trainable_parameters"] == head["trainable_parameters"] + own_parameters
    assert record["metrics"]["test/accuracy"] > 0.75
    recorded = {name: value for name, value in record["metrics"].items() if name.startswith("test/")}
    assert evaluate(composed(f"run={run}", config="evaluate"), *read_run(run)) == recorded


# --- old weights ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_an_adapter_starts_from_one_without(kind: str, runs: Runs, composed: Callable[..., Any]) -> None:
    old = build(composed(*SHORT, "run_dir=none"), logs=False)
    new = build(composed(*SHORT, f"adapter={kind}", "model.weights=null", "run_dir=none"), logs=False)
    init_from(old.model, runs["none"], old.data.targets)
    assert "the adapter is new; the head is loaded too" in init_from(new.model, runs["none"], new.data.targets)
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(new.model.eval()(x), old.model.eval()(x))


def test_a_run_with_an_adapter_goes_on_with_its_own(runs: Runs, composed: Callable[..., Any]) -> None:
    model = build(composed(*SHORT, "adapter=lora", "seed=5", "run_dir=none"), logs=False)
    assert "the adapter is new" not in init_from(model.model, runs["lora"], model.data.targets)
    best = state(runs["lora"], "best")
    assert all(torch.equal(value, best[name]) for name, value in model.model.state_dict().items())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adapter=none"], "the weights contain an adapter, but this run has none"),
        (["adapter=lora", "adapter.rank=4"], "of another shape"),
        (["adapter=ia3"], "missing .*ia3_l"),
        (["adapter=lora", "schedule=last_block"], "do not belong to"),
    ],
)
def test_weights_with_another_adapter_are_refused(
    overrides: list[str], message: str, runs: Runs, composed: Callable[..., Any]
) -> None:
    built = build(composed(*QUICK, *overrides, "run_dir=none"), logs=False)
    with pytest.raises(FrostlineError, match=message):
        init_from(built.model, runs["lora"], built.data.targets)


# --- settings ---


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adapter=lora", "schedule=head_only"], "no phase of the plan trains the adapter"),
        (["schedule.every_phase.only=adapters"], "but adapter=none"),
        (["adapter=none", "schedule=adapter_then_all"], "but adapter=none"),
        (["adapter=lora", "adapter.rank=0"], "adapter.rank: 0 is not a whole number x with x > 0"),
        (["adapter=lora", "+adapter.beta=1"], "adapter.beta: frostline.adapters.kinds.Lora has no such setting"),
        (["adapter=lora", "adapter.targets=[conv9]"], "no adaptable layer is called conv9"),
    ],
)
def test_wrong_settings_are_told(overrides: list[str], message: str, program: Callable[..., Answer]) -> None:
    answer = program("train", *QUICK, *overrides, "run_dir=none")
    assert answer.code == 1
    assert message in answer.err
