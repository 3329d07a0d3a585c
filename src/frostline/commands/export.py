"""Export the weights of a trained run as one safetensors file."""

from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from frostline import __version__
from frostline.adapters.layers import adapter_names, merged
from frostline.backbones.weights import SUFFIX, packed
from frostline.commands.calibrated import calibrated
from frostline.commands.checks import check
from frostline.commands.train import quiet
from frostline.commands.trained import trained
from frostline.errors import DataError
from frostline.paths import write_atomically
from frostline.runs.folder import amended
from frostline.runs.record import Record


def export(cfg: DictConfig, settings: DictConfig) -> Path:
    """Write the tensors `backbone.*` and `head.*`. The metadata key `frostline` holds JSON with what their use needs:
    the backbone's spec, the targets, and the `temperature` by which `predict` divides the logits. settings: of the run,
    `opened`. Raises DataError, RunError."""
    quiet()
    settings = amended(settings, model=cfg.model)
    check(settings, command=None)
    output = _required_new(Path(cfg.output).absolute())
    model, targets, _ = trained(settings, Path(cfg.run), cfg.checkpoint)
    adapted = len(adapter_names(model.backbone))
    backbone = merged(model.backbone) if cfg.merge else model.backbone
    temperature = calibrated(Record.read(Path(cfg.run)), cfg.checkpoint, model.task, "temperature").temperature
    weights = {
        f"{part}.{name}": value
        for part, module in (("backbone", backbone), ("head", model.head))
        for name, value in module.state_dict().items()
    }
    about = {
        "version": __version__,
        "model": backbone.name,
        "spec": asdict(backbone.spec),
        "targets": asdict(targets),
        "temperature": temperature,
        "adapter": ("merged" if cfg.merge else "beside") if adapted else None,
    }
    try:
        write_atomically(output, packed(weights, about))
    except OSError as error:
        raise DataError(
            f"cannot write the weights: {error.strerror}", where=output, next_step="output=<another file>"
        ) from error
    how = f"; {adapted} tensors of the adapter are {'merged into them' if cfg.merge else 'stored unmerged'}"
    print(f"{len(weights)} tensors in {cfg.output}{how if adapted else ''}")
    if temperature is not None:
        print(f"predict divides the logits by the temperature {temperature:.3f}, which is in the metadata alone")
    return output


def _required_new(output: Path) -> Path:
    if output.suffix != SUFFIX or output.exists() or output.is_symlink():
        raise DataError(
            "a file of that name exists" if output.suffix == SUFFIX else f"the file name does not end in {SUFFIX}",
            where=output,
            next_step=f"output=<a new file>{SUFFIX}",
        )
    if not output.parent.is_dir():
        raise DataError(
            "there is no such folder", where=output.parent, next_step=f"create it, or output=<file>{SUFFIX}"
        )
    return output
