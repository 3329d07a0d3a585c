"""Settings of the Trainer."""

import os
from collections.abc import Callable

import pytest
import torch
from lightning.pytorch.profilers import SimpleProfiler
from omegaconf import DictConfig
from torch import nn

from frostline.training.trainer import LOOKS_FOR_NVML, Unwatched, _precision, make_trainer, with_precision


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"amx_bf16": True}, "bf16-mixed"), ({"avx512_bf16": True}, "bf16-mixed"), ({"avx2": True}, "32-true")],
)
def test_auto_is_bf16_where_the_processor_multiplies_in_it(
    capabilities: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert _precision("auto", "auto") == precision
    assert _precision("32-true", "auto") == "32-true"


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_asks_the_gpu_where_it_trains(native: bool, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": not native})
    assert _precision("auto", "gpu") == precision
    assert _precision("auto", "cpu") == ("32-true" if native else "bf16-mixed")


DEPTHWISE = nn.Conv2d(4, 4, 3, groups=4)


@pytest.mark.parametrize(
    ("network", "typed", "gpu", "amx", "precision"),
    [
        (DEPTHWISE, "auto", False, False, "32-true"),
        (DEPTHWISE, "auto", False, True, "auto"),
        (DEPTHWISE, "bf16-mixed", False, False, "bf16-mixed"),
        (DEPTHWISE, "auto", True, False, "auto"),
        (nn.Conv2d(4, 4, 3, groups=2), "auto", False, False, "auto"),
        (nn.Conv2d(1, 4, 3), "auto", False, False, "auto"),
    ],
)
def test_networks_with_depthwise_convolutions_train_in_float32_on_cpus_without_amx(
    network: nn.Module,
    typed: str,
    gpu: bool,
    amx: bool,
    precision: str,
    composed: Callable[..., DictConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx, "avx512_bf16": True})
    cfg = composed(f"trainer.precision={typed}", "run_dir=logs/it")
    assert with_precision(cfg, nn.Sequential(network)).trainer.precision == precision
    assert cfg.trainer.precision == typed


@pytest.mark.parametrize(("gpu", "looks"), [(False, "0"), (True, "1")])
def test_torch_looks_for_nvml_only_where_there_is_a_gpu(
    gpu: bool, looks: str, composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOOKS_FOR_NVML, "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    make_trainer(composed("trainer=cpu", "run_dir=logs/it").trainer, [], logger=False)
    assert os.environ[LOOKS_FOR_NVML] == looks


def test_a_trainer_measures_nothing_unless_it_is_asked_to(composed: Callable[..., DictConfig]) -> None:
    plain = composed("trainer=cpu", "run_dir=logs/it")
    asked = composed("trainer=cpu", "run_dir=logs/it", "+trainer.profiler=simple")
    profiler = make_trainer(plain.trainer, [], logger=False).profiler
    assert isinstance(profiler, Unwatched)
    with profiler.profile("a"), profiler.profile("a hook within it"):
        pass
    assert isinstance(make_trainer(asked.trainer, [], logger=False).profiler, SimpleProfiler)
