"""The FineTuner under a real Trainer on the CPU: what is frozen stays, what is thawed learns, at the rates given."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.data import DataLoader

from conftest import make_phase
from frostline.backbones.base import Backbone
from frostline.commands.train import NOT_HERE
from frostline.contracts.batch import Batch
from frostline.contracts.features import vector
from frostline.contracts.specs import ImageSpec
from frostline.contracts.targets import Targets
from frostline.heads.vector import LinearHead
from frostline.plan.phase import Phase
from frostline.tasks.classification import Classification
from frostline.training.finetuner import CHECKPOINT_KEY, FineTuner

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]

STEPS, BASE, DECAY = 4, 0.1, 0.01
TARGETS = Targets("class", ["a", "b", "c"], [1, 1, 1], {})
SPEC = ImageSpec(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
HEAD = make_phase("head", thaw="none", epochs=2, curve="constant")
ALL = make_phase("all", lr_scale=0.5, layer_decay=0.5, warmup_epochs=1, curve="linear")


# --- a small network, random data, a real Trainer ---


def conv(width_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.1))


class Every(dict[str, Any]):
    """The same optimizer for every phase."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__()
        self.optimizer = optimizer

    def __missing__(self, phase: str) -> Any:
        return self.optimizer


def finetuner(l1: float = 0.0) -> FineTuner:
    """Always with the same random weights."""
    torch.manual_seed(0)
    blocks = {"stem": conv(3, 4), "middle": conv(4, 6), "top": conv(6, 8)}
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    backbone = Backbone(name="tiny", blocks=blocks, pool=pool, width=8, spec=SPEC, loaded="random")
    task = Classification(
        TARGETS,
        label_smoothing=0.0,
        class_weights="none",
        l1=l1,
        monitor="val/accuracy",
        mode="max",
    )
    return FineTuner(
        backbone, LinearHead(vector(8), 3, dropout=0.0), task, Every(partial(SGD, lr=BASE, weight_decay=DECAY)), seed=0
    )


def batches(count: int, seed: int, weight: float = 1.0, size: int = 6) -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(seed)

    def batch() -> Batch:
        inputs, targets = torch.randn(size, 3, 8, 8, generator=draw), torch.randint(3, (size,), generator=draw)
        return Batch(inputs, targets, torch.arange(size), weight=weight)

    return DataLoader([batch() for _ in range(count)], batch_size=None)  # type: ignore[arg-type]


class Step(NamedTuple):
    phase: str
    rates: dict[str, float]
    decays: dict[str, float]
    training: set[str]  # blocks whose every module trains
    resting: set[str]  # blocks whose no module does
    without_gradient: set[str]
    gradients: dict[str, Tensor]
    loss: float


class Watch(L.Callback):
    """Records the parameters that each optimizer step saw."""

    def __init__(self) -> None:
        self._rates: dict[str, float] | None = None
        self.steps: list[Step] = []
        self.states: dict[str, dict[str, Tensor]] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.states.setdefault("before", copied(pl_module))

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        blocks = {name: [m.training for m in block.modules()] for name, block in pl_module.backbone.blocks.items()}
        self._training = {name for name, modes in blocks.items() if all(modes)}
        self._resting = {name for name, modes in blocks.items() if not any(modes)}

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        groups = optimizer.param_groups
        self._rates = {group["name"]: group["lr"] for group in groups}
        self._decays = {group["name"]: group["weight_decay"] for group in groups}
        parameters = dict(pl_module.named_parameters())
        self._gradients = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
        self._without = set(parameters) - set(self._gradients)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._rates is None:
            return  # its gradient is only added to the next batch's
        seen = (self._rates, self._decays, self._training, self._resting, self._without, self._gradients)
        self.steps.append(Step(pl_module.phase.name, *seen, float(outputs["loss"])))
        self._rates = None

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.states[pl_module.phase.name] = copied(pl_module)

    def of(self, phase: Phase) -> list[Step]:
        return [step for step in self.steps if step.phase == phase.name]


class Trained(NamedTuple):
    model: FineTuner
    trainer: L.Trainer
    watch: Watch


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def fitted(folder: Path, model: FineTuner, *phases: Phase, train: DataLoader[Any], **settings: Any) -> Trained:
    """Train as `training.fit` does: one Trainer, a `fit` per phase."""
    watch = Watch()
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=0, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, use_distributed_sampler=False, num_sanity_val_steps=0, default_root_dir=folder,
        callbacks=[watch], **settings,
    )  # fmt: skip
    for number, phase in enumerate(phases):
        first_epoch = trainer.current_epoch
        model.enter(phase, number, first_epoch)
        trainer.fit_loop.max_epochs = first_epoch + phase.epochs
        trainer.fit(model, train, batches(2, seed=2))
    return Trained(model, trainer, watch)


@pytest.fixture(scope="module")
def two_phases(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return fitted(tmp_path_factory.mktemp("two"), finetuner(), HEAD, ALL, train=batches(STEPS, seed=1))


# --- what is frozen, what learns ---


def test_what_is_frozen_is_bit_for_bit_the_same_after_a_head_phase(two_phases: Trained) -> None:
    before, after = two_phases.watch.states["before"], two_phases.watch.states["head"]
    frozen = [name for name in before if name.startswith("backbone.")]
    assert len(frozen) == 3 * 6  # a block: the convolution's weights, the norm's two parameters and three buffers
    assert [name for name in frozen if not torch.equal(before[name], after[name])] == []
    assert not torch.equal(before["head.layers.1.weight"], after["head.layers.1.weight"])


def test_everything_moves_once_it_is_thawed_and_the_norms_learn_statistics(two_phases: Trained) -> None:
    before, after = two_phases.watch.states["head"], two_phases.watch.states["all"]
    still = [name for name in before if not name.startswith(("metrics.", "task.")) and before[name].equal(after[name])]
    assert still == []
    assert after["backbone.blocks.stem.1.num_batches_tracked"] == STEPS * ALL.epochs


def test_a_named_block_thaws_it_and_all_above_and_nothing_below(tmp_path: Path) -> None:
    upper = make_phase("upper", thaw="middle", epochs=1, curve="constant")
    states = fitted(tmp_path, finetuner(), HEAD, upper, train=batches(STEPS, seed=1)).watch.states
    before, after = states["head"], states["upper"]
    backbone = [name for name in before if name.startswith("backbone.")]
    assert {name.split(".")[2] for name in backbone if not before[name].equal(after[name])} == {"middle", "top"}
    assert all(states["before"][name].equal(after[name]) for name in backbone if ".stem." in name)


def test_a_frozen_parameter_never_has_a_gradient(two_phases: Trained) -> None:
    for step in two_phases.watch.of(HEAD):
        assert set(step.gradients) == {"head.layers.1.weight", "head.layers.1.bias"}
        assert len(step.without_gradient) == 3 * 3
    assert all(step.without_gradient == set() for step in two_phases.watch.of(ALL))


def test_frozen_blocks_rest_and_thawed_blocks_train_at_every_step(two_phases: Trained) -> None:
    blocks = {"stem", "middle", "top"}
    assert [step.resting for step in two_phases.watch.of(HEAD)] == [blocks] * STEPS * HEAD.epochs
    assert [step.training for step in two_phases.watch.of(ALL)] == [blocks] * STEPS * ALL.epochs


def test_train_cannot_wake_a_frozen_block() -> None:
    model = finetuner()
    model.enter(HEAD, 0, 0)
    model.eval()
    model.train()
    assert model.head.training
    assert not any(module.training for block in model.backbone.blocks.values() for module in block.modules())


def test_entering_a_phase_again_or_after_another_gives_the_same_state() -> None:
    def state(*phases: Phase) -> dict[str, bool]:
        model = finetuner()
        for number, phase in enumerate(phases):
            model.enter(phase, number, 0)
        modes = {name: module.training for name, module in model.named_modules()}
        return modes | {f"{name} learns": p.requires_grad for name, p in model.named_parameters()}

    assert state(HEAD) == state(HEAD, HEAD) == state(ALL, HEAD) == state(HEAD, ALL, HEAD)
    assert state(ALL) == state(HEAD, ALL) == state(ALL, ALL)
    assert state(ALL) != state(HEAD)


# --- rates, decay, loss ---


def test_the_learning_rate_rises_and_falls_anew_in_each_phase(two_phases: Trained) -> None:
    assert {rate for step in two_phases.watch.of(HEAD) for rate in step.rates.values()} == {BASE}
    # Warm-up 1/5, 2/5, 3/5, 4/5 in the first epoch; then from 1 down to 0 over 8 steps, the last of which is at 1/8.
    curve = [0.2, 0.4, 0.6, 0.8, *(1 - step / 8 for step in range(8))]
    scales = {"head": 0.5, "top": 0.25, "middle": 0.125, "stem": 0.0625}  # lr_scale, halved per block of depth
    steps = two_phases.watch.of(ALL)
    assert set(steps[0].rates) == set(scales) | {f"{block}/no_decay" for block in scales}
    for block, scale in scales.items():
        for name in (block, f"{block}/no_decay"):
            assert [step.rates[name] for step in steps] == pytest.approx([BASE * scale * height for height in curve])


def test_accumulated_batches_are_one_step_of_the_curve(tmp_path: Path) -> None:
    phase = Phase(**{**vars(ALL), "epochs": 2, "warmup_epochs": 0})
    watch = fitted(tmp_path, finetuner(), HEAD, phase, train=batches(5, seed=1), accumulate_grad_batches=2).watch
    # Five batches are three steps: an epoch's last batch does not wait for another.
    assert [step.rates["head"] for step in watch.of(phase)] == pytest.approx(
        [BASE * 0.5 * (1 - step / 6) for step in range(6)]
    )


def test_weight_decay_is_the_optimizers_own_and_zero_in_groups_without(two_phases: Trained) -> None:
    for step in two_phases.watch.steps:
        assert step.decays == {name: 0.0 if name.endswith("/no_decay") else DECAY for name in step.rates}


@pytest.mark.parametrize("phase", [HEAD, ALL], ids=lambda phase: phase.name)
def test_l1_adds_the_absolute_learning_weights_to_the_loss_and_their_signs_to_the_gradient(
    tmp_path: Path, phase: Phase
) -> None:
    once = Phase(**{**vars(phase), "epochs": 1})
    runs = {l1: fitted(tmp_path, finetuner(l1), once, train=batches(1, seed=1)).watch for l1 in (0.0, 0.01)}
    plain, penalised = (watch.steps[0] for watch in runs.values())
    state = runs[0.0].states["before"]
    weights = {name for name in plain.gradients if state[name].ndim >= 2}
    assert len(weights) == (1 if phase is HEAD else 4)
    assert penalised.loss - plain.loss == pytest.approx(
        0.01 * sum(float(state[n].abs().sum()) for n in weights), rel=1e-4
    )
    for name, gradient in plain.gradients.items():
        added = 0.01 * state[name].sign() if name in weights else torch.zeros(())
        torch.testing.assert_close(penalised.gradients[name], gradient + added, rtol=1e-4, atol=1e-6)


def test_a_batchs_weight_scales_its_loss_and_its_gradient(tmp_path: Path) -> None:
    once = Phase(**{**vars(ALL), "epochs": 1})
    single, double = (
        fitted(tmp_path, finetuner(), once, train=batches(1, seed=1, weight=weight)).watch.steps[0] for weight in (1, 2)
    )
    assert double.loss == pytest.approx(2 * single.loss, rel=1e-6)
    for name, gradient in single.gradients.items():
        torch.testing.assert_close(double.gradients[name], 2 * gradient)


# --- scores, predictions, checkpoints ---


def test_validation_scores_are_those_of_the_network_at_rest(two_phases: Trained) -> None:
    model, trainer, _ = two_phases
    data = list(batches(2, seed=2))
    mode = model.training
    model.eval()
    logits, targets = torch.cat([model(batch.inputs) for batch in data]), torch.cat([batch.targets for batch in data])
    model.train(mode)
    seen = trainer.callback_metrics
    assert float(seen["val/accuracy"]) == pytest.approx((logits.argmax(1) == targets).float().mean().item())
    assert float(seen["val/loss"]) == pytest.approx(nn.functional.cross_entropy(logits, targets).item(), rel=1e-5)
    assert seen["val/n"] == len(targets)


def test_epochs_and_steps_go_on_from_phase_to_phase(two_phases: Trained) -> None:
    assert two_phases.trainer.current_epoch == HEAD.epochs + ALL.epochs
    assert two_phases.trainer.global_step == STEPS * (HEAD.epochs + ALL.epochs)
    assert (two_phases.model.phase_number, two_phases.model.first_epoch) == (1, HEAD.epochs)


def test_a_checkpoint_holds_plain_values_only_and_brings_the_network_back(two_phases: Trained, tmp_path: Path) -> None:
    model, trainer, _ = two_phases
    trainer.save_checkpoint(tmp_path / "it.ckpt")
    content = torch.load(tmp_path / "it.ckpt", weights_only=True)
    said = content[CHECKPOINT_KEY]
    assert (said["phase"], said["first_epoch"], said["ended"], said["batches"]) == ("all", HEAD.epochs, True, 0)
    assert said["val"] == pytest.approx({name: float(value) for name, value in trainer.callback_metrics.items()
                                         if name.startswith("val/")})  # fmt: skip
    again = finetuner()
    again.load_state_dict(content["state_dict"])
    (batch,) = batches(1, seed=3)
    assert torch.equal(again.eval()(batch.inputs), model.eval()(batch.inputs))


def test_a_prediction_is_a_probability_per_class() -> None:
    model = finetuner().eval()
    (batch,) = batches(1, seed=3)
    torch.testing.assert_close(torch.stack(model.predict_step(batch, 0)), torch.softmax(model(batch.inputs), dim=1))


def test_a_model_that_entered_no_phase_says_so() -> None:
    with pytest.raises(RuntimeError, match="no phase was entered"):
        _ = finetuner().phase
