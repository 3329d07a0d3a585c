"""Steps without needless work: what Lightning calls stays right."""

import inspect
from typing import Any

import lightning.pytorch.trainer.call
import torch
from torch import nn

from frostline.contracts.batch import Batch
from frostline.data.split import Transfers
from frostline.training.lean_module import HOOK, LeanModule


def test_lightning_writes_the_name_of_the_hook_and_all_else_is_registered() -> None:
    assert f"pl_module.{HOOK} = " in inspect.getsource(lightning.pytorch.trainer.call), "else nothing is saved"
    module = LeanModule()
    setattr(module, HOOK, "training_step")
    module.layer, module.weight = nn.Linear(2, 1), nn.Parameter(torch.zeros(3))
    assert getattr(module, HOOK) == "training_step"
    assert {name for name, _ in module.named_parameters()} == {"layer.weight", "layer.bias", "weight"}


def test_a_batch_is_moved_unless_it_stays_on_the_cpu() -> None:
    batch = Batch(torch.zeros(2, 3), torch.zeros(2), torch.arange(2))
    transfers: Any = Transfers()
    assert transfers.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    moved = transfers.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert (moved.inputs.device.type, moved.targets.device.type) == ("meta", "meta")
