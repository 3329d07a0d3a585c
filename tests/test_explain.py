"""`frostline explain`: the map of one picture, and what is refused. Texts are explained in test_text_predictions.py."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

from conftest import Answer, require_pasteable
from frostline.commands.explain import _OneSample
from frostline.contracts.specs import ImageSpec, PartsSpec, TextSpec, WaveSpec
from frostline.errors import ConfigError, DataError
from frostline.saliency.explainer import explainer_of

Program = Callable[..., Answer]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.effect_noise((40, 30), 80).convert("RGB").save(tmp_path / "one.jpg")
    return tmp_path / "one.jpg"


def test_a_picture_is_drawn_beside_its_map(small_run: Path, picture: Path, program: Program) -> None:
    answer = program("explain", f"run={small_run}", f"input={picture}", "answer=3")
    assert answer.code == 0, answer.err
    said = dict(line.strip().split("   ", 1) for line in answer.out.splitlines())
    said = {name: value.strip() for name, value in said.items()}
    assert said["explained"] == "3"
    assert said["where"].startswith("by activation × gradient; ")  # at 8 pixels the last map has one cell
    assert {"label", "probability", "label_2"} < set(said)
    with Image.open(said["picture"]) as drawn:
        assert drawn.width > 2 * drawn.height >= 2 * 448
    assert Path(said["picture"]).name == "one.explained.png"
    predicted = program("predict", f"run={small_run}", f"input={picture}", "output=one.csv")
    assert predicted.code == 0, predicted.err
    assert said["probability"] in Path("one.csv").read_text()
    again = program("explain", f"run={small_run}", f"input={picture}")
    assert again.code == 1
    assert "exists already" in again.err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["answer=cat"], "no answer 'cat'"),
        (["output=map.html"], "written as .png"),
        (["output=none/map.png"], "no such folder"),
        (["data.suffix=.jpg"], "data.suffix does not apply"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    typed: list[str], said: str, small_run: Path, picture: Path, program: Program
) -> None:
    answer = program("explain", f"run={small_run}", f"input={picture}", *typed)
    assert answer.code == 1
    assert said in answer.err
    assert not [*picture.parent.glob("*.explained.png")]


@pytest.mark.parametrize(
    ("spec", "said"), [(ImageSpec, "input=<one file>; frostline"), (TextSpec, "text='...'; frostline")]
)
def test_what_is_proposed_is_what_the_run_takes(spec: type, said: str) -> None:
    model: Any = SimpleNamespace(backbone=SimpleNamespace(spec=object.__new__(spec)))
    network: Any = SimpleNamespace(model=model, batches=lambda _: [SimpleNamespace(size=2)])
    with pytest.raises(DataError, match="one sample, and there are several") as error:
        next(_OneSample(network, explainer_of(model.backbone).example_input).predictions(cast(Any, None)))
    assert error.value.next_step.startswith(said)


def test_table_rows_have_no_map() -> None:
    backbone: Any = SimpleNamespace(spec=object.__new__(PartsSpec), name="fusion")
    with pytest.raises(ConfigError, match=r"\(table rows\) have no map") as error:
        explainer_of(backbone)
    require_pasteable(str(error.value))
    assert "what each column adds" in error.value.next_step
    assert "model=minilm data=text_csv data.train_file=<table> data.text_columns=[<texts>]" in str(error.value)


def test_sounds_have_a_map_as_pictures() -> None:
    backbone: Any = SimpleNamespace(spec=object.__new__(WaveSpec), name="wav2vec2")
    with pytest.raises(ConfigError, match="sees sounds as pictures: model=efficientnet_lite0 data=audio_folder"):
        explainer_of(backbone)


def test_several_samples_and_none_are_refused(small_run: Path, picture: Path, program: Program) -> None:
    Image.open(picture).save(picture.with_name("two.png"))
    assert "one sample, and there are several" in program("explain", f"run={small_run}", f"input={picture.parent}").err
    assert "explain needs either input= or text=" in program("explain", f"run={small_run}").err
    assert "takes pictures, not text" in program("explain", f"run={small_run}", "text=hello").err
