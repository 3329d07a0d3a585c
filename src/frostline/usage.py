"""What `--help` prints. It reads the names and first lines of conf/ and composes nothing, so it answers at once."""

from pathlib import Path

from frostline import __version__
from frostline.paths import conf_dir

USAGE = f"""\
frostline {__version__}: fine-tune a pretrained network on your own pictures.

  frostline train model=resnet50 data=cifar10                          one option per question
  frostline train -m model=resnet18,resnet50 optimizer.lr=1e-3,1e-4    one run per combination
  frostline train resume=<run folder>                                  go on where a run stopped
  frostline evaluate run=<run folder>                                  score it again on its test part
  frostline predict run=<run folder> input=<folder> output=<csv>       label and probability per picture

`frostline <command> --help` lists questions, options and values; `--cfg job` prints what a command line means;
`--config-dir <folder>` adds options of your own. An error shows its traceback with HYDRA_FULL_ERROR=1."""


def help_of(command: str) -> str:
    config = conf_dir() / f"{command}.yaml"
    folders = sorted(path for path in conf_dir().iterdir() if path.is_dir()) if command == "train" else []
    questions = ["", "questions (question=option):", *map(_group, folders)] if folders else []
    return "\n".join([USAGE, *questions, "", "values (key=value), as they stand now:", *_values(config)])


def _group(folder: Path) -> str:
    """`  model        bundled, convnext_tiny, ...`"""
    options = sorted(path.stem for path in folder.glob("*.yaml") if not path.name.startswith("_"))
    lines = [f"  {folder.name:12}"]
    for option in options:
        if len(lines[-1]) + len(option) > 116:
            lines.append(" " * 14)
        lines[-1] += f" {option},"
    return "\n".join(lines).removesuffix(",")


def _values(config: Path) -> list[str]:
    """The lines of the file that set single values, comments and all."""
    kept = []
    for line in config.read_text(encoding="utf-8").splitlines():
        if line[:1].isalpha() and not line.startswith(("defaults:", "hydra:")):
            kept.append(f"  {line}")
    return kept
