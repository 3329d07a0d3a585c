"""The settings that a run stores: paths that hold from any folder, and what refers to them."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from frostline.config.plain import Settings
from frostline.runs.folder import lasting, placed

NAMED = {"_target_": "frostline.backbones.transformers.Transformer"}


def test_paths_become_absolute_and_settings_that_refer_to_them_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells").mkdir()
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").touch()
    content = {
        "run_dir": "/runs/1",
        "data": {"dir": "cells", "modality": {"words": "${data.dir}/words.txt"}, "batch_size": None},
        "cache": {"dir": "kept"},  # the run will make it
        "logger": {"save_dir": "${cache.dir}/curves"},
        "callbacks": {"best": {"dirpath": "${run_dir}/checkpoints"}},
        "model": {"weights": "DEFAULT", "nets": [{"weights": "cells", "name": "net"}], "name": "net", **NAMED},
    }
    cfg = OmegaConf.create(content)
    expected = {
        "run_dir": "/runs/1",
        "data": {"dir": f"{tmp_path}/cells", "modality": {"words": f"{tmp_path}/cells/words.txt"}, "batch_size": 8},
        "cache": {"dir": f"{tmp_path}/kept"},
        "logger": {"save_dir": f"{tmp_path}/kept/curves"},
        "callbacks": {"best": {"dirpath": "/runs/1/checkpoints"}},
        "model": {
            "weights": "DEFAULT",
            "nets": [{"weights": f"{tmp_path}/cells", "name": "net"}],  # of a class that takes no folder
            "name": f"{tmp_path}/net",
            **NAMED,
        },
    }
    settings = Settings.of(cfg)
    for kept in (lasting(cfg, {"data.batch_size": 8}), lasting(cfg, {"data.batch_size": 8}, settings)):
        assert kept == expected
    assert lasting(Settings(expected)) == expected, "a run that goes on"
    assert (OmegaConf.to_container(cfg), settings.data.dir) == (content, "cells"), "they change nothing"


def test_folders_may_be_named_like_interpolations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "${nowhere}"
    (folder / "cells").mkdir(parents=True)
    monkeypatch.chdir(folder)
    cfg = OmegaConf.create({"run_dir": "x", "resume": None, "trust": True, "logger": {"save_dir": "${run_dir}/curves"},
                            "data": {"dir": "cells", "words": "${data.dir}/words.txt"}, "model": {}})  # fmt: skip
    kept = lasting(placed(cfg, Path("run")))
    assert (kept.run_dir, kept.logger.save_dir) == (f"{folder}/run", f"{folder}/run/curves")
    assert kept.data == {"dir": f"{folder}/cells", "words": f"{folder}/cells/words.txt"}
