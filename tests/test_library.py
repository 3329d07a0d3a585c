"""Frostline as a library: what it exports, and what a run that is opened from Python predicts."""

import csv
import inspect
import io
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from PIL import Image

import frostline
from conftest import Answer
from frostline.commands.predictor import Predictor
from frostline.commands.train import NOT_HERE
from frostline.data.pictures import preprocess
from frostline.paths import conf_dir
from frostline.tasks.classification import Classification
from frostline.tasks.detection import Detection
from test_predictions import PICTURES, QUICK, TEXTS
from tiny_text import make_tokenizer

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]
ROOT = Path(__file__).resolve().parents[1]


def trained(folder: Path, *overrides: str) -> Path:
    from frostline.cli.main import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["frostline", "train", *overrides, "predictions=false", f"run_dir={folder / 'run'}"])
        main()
    GlobalHydra.instance().clear()
    return folder / "run"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A run on pictures in two folders, and the pictures; it needs trust, as its network is one of the tests."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for name, level in (("cat", 40), ("dog", 200)):
        (folder / "in" / name).mkdir(parents=True)
        for number in range(12):
            values = generator.integers(level - 30, level + 30, (10 + number % 3, 9, 3), dtype=np.uint8)
            Image.fromarray(values).save(folder / "in" / name / f"{number}.png")
    run = trained(folder, *PICTURES, "data=image_folder", f"data.dir={folder / 'in'}", "data.batch_size=4")
    return run, sorted((folder / "in").rglob("*.png"))


def told(program: Program, run: Path, *typed: str) -> list[dict[str, str]]:
    """The rows that the command prints."""
    answer = program("predict", f"run={run}", "trust=true", *typed)
    assert answer.code == 0, answer.err
    return list(csv.DictReader(io.StringIO(answer.out)))


def require_told(found: dict[str, Any], expected: dict[str, str]) -> None:
    """As printed, but for the last digit: batches may be of other sizes."""
    assert found.keys() == expected.keys()
    for name, cell in found.items():
        if name.startswith(("probability", "share")) or isinstance(cell, float):
            assert isinstance(cell, float)
            assert cell == pytest.approx(float(expected[name]), abs=2e-6)
        else:
            assert cell == expected[name]


# --- what there is ---


def test_everything_public_is_exported_and_nothing_else() -> None:
    public = {
        name
        for name in dir(frostline)
        if not name.startswith("_") and not isinstance(getattr(frostline, name), types.ModuleType)
    }
    assert public == set(frostline.__all__) - {"__version__"}
    assert frostline.__all__ == sorted(frostline.__all__)
    assert all(getattr(frostline, name) is not None for name in frostline.__all__)
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        _ = frostline.opne  # type: ignore[attr-defined]


def test_the_types_are_those_of_what_is_exported() -> None:
    stub = (ROOT / "src" / "frostline" / "__init__.pyi").read_text()
    named = re.findall(r"^from \S+ import \w+ as (\w+)$|^(\w+): str$", stub, re.MULTILINE)
    assert {one or other for one, other in named} == set(frostline.__all__)
    assert re.findall(r'^    "(\w+)",$', stub, re.MULTILINE) == frostline.__all__


def test_importing_the_library_loads_nothing_heavy() -> None:
    heavy = {"torch", "lightning", "numpy", "hydra", "omegaconf", "PIL", "pyarrow"}
    code = f"import sys, frostline; dir(frostline); print(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_leaderboard_needs_no_torch() -> None:
    """Its command would take seconds longer."""
    code = "import sys, frostline.report.leaderboard_table; print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_defaults_are_those_of_the_command() -> None:
    settings = OmegaConf.load(conf_dir() / "predict.yaml")
    parameters = inspect.signature(frostline.Predictor.predict).parameters
    assert {name: parameters[name].default for name in ("batch_size", "top_k")} == {
        name: settings[name] for name in ("batch_size", "top_k")
    }
    parameters = inspect.signature(frostline.open).parameters
    assert {name: parameters[name].default for name in ("checkpoint", "trust")} == {
        name: settings[name] for name in ("checkpoint", "trust")
    }


# --- pictures ---


def test_pictures_have_the_probabilities_of_the_command(program: Program, pictures: tuple[Path, list[Path]]) -> None:
    run, files = pictures
    expected = {row.pop("file"): row for row in told(program, run, f"input={files[0].parents[1]}")}
    opened = frostline.open(run, trust=True)
    assert (opened.run, opened.task, opened.classes) == (run, "classification", ["cat", "dog"])
    found = list(opened.predict(files, batch_size=5))
    assert len(found) == len(files) == 24
    for file, prediction in zip(files, found, strict=True):
        require_told(prediction.columns, expected[str(file)])
        assert prediction.values.shape == (2,)
        assert float(prediction.values.max()) == pytest.approx(float(prediction.columns["probability"]), abs=1e-6)
        assert opened.classes[int(prediction.values.argmax())] == prediction.columns["label"]


def test_every_form_of_a_picture_has_the_same_prediction(pictures: tuple[Path, list[Path]]) -> None:
    run, files = pictures
    array = np.asarray(Image.open(files[0]))
    forms = [str(files[0]), Image.open(files[0]), array, torch.from_numpy(array.copy()).permute(2, 0, 1)]
    opened = frostline.open(str(run), trust=True)
    (expected,) = opened.predict([files[0]])
    for form in forms:
        (found,) = opened.predict([form])
        assert torch.equal(found.values, expected.values), type(form)
    grey = np.full((9, 9), 200, np.uint8)
    both = list(opened.predict([grey, np.stack([grey] * 3, -1), grey[..., None], torch.from_numpy(grey)]))
    assert all(torch.allclose(one.values, both[0].values) for one in both)


def test_a_picture_that_is_turned_by_its_header_is_turned(pictures: tuple[Path, list[Path]], tmp_path: Path) -> None:
    run, _ = pictures
    values = np.zeros((20, 40, 3), np.uint8)
    values[:10] = 255
    picture = Image.fromarray(values)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "it.jpg", exif=exif)
    file, opened = frostline.open(run, trust=True).predict([tmp_path / "it.jpg", Image.open(tmp_path / "it.jpg")])
    assert torch.equal(file.values, opened.values)


def test_samples_are_taken_as_predictions_are_asked_for(pictures: tuple[Path, list[Path]]) -> None:
    run, files = pictures
    taken = []

    def some() -> Any:
        for file in files:
            taken.append(file)
            yield file

    found = frostline.open(run, trust=True).predict(some(), batch_size=4, top_k=1)
    assert taken == []
    assert set(next(found).columns) == {"label", "probability"}
    assert taken == files[:4]


@pytest.mark.parametrize(("top", "dtype", "suffix"), [(4095, "uint16", "png"), (765, "float32", "tif")])
def test_grey_pictures_of_more_bits_than_in_training_have_the_predictions_of_eight_bits(
    program: Program,
    pictures: tuple[Path, list[Path]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    top: int,
    dtype: str,
    suffix: str,
) -> None:
    run, _ = pictures
    plain = [np.linspace(0, level, 81).reshape(9, 9).round().astype(np.uint8) for level in (255, 200)]
    plain[1][-1, -1] = 255
    deep = [(values * (top / 255)).astype(dtype) for values in plain]
    for number, values in enumerate(deep):
        Image.fromarray(values).save(tmp_path / f"{number}.{suffix}")
    opened = frostline.open(run, trust=True)
    expected = [float(it.values.max()) for it in opened.predict(plain)]
    assert "more than 8 bits" not in capsys.readouterr().err
    answer = program("predict", f"run={run}", "trust=true", f"input={tmp_path}")
    assert f"2 grey pictures have more than 8 bits: 0 becomes black and {top} white" in answer.err
    for row, one in zip(csv.DictReader(io.StringIO(answer.out)), expected, strict=True):
        assert float(row["probability"]) == pytest.approx(one, abs=2e-3)  # rounded to other greys
    for samples in (deep, [tmp_path / f"{number}.{suffix}" for number in range(2)]):
        opened = frostline.open(run, trust=True)
        found = [float(it.values.max()) for _ in range(2) for it in opened.predict(samples, batch_size=1)]
        assert found == pytest.approx(expected * 2, abs=2e-3)
        told = capsys.readouterr().err
        assert told.count("is grey with more than 8 bits") == 1, told
        assert (
            f"sample 0 is grey with more than 8 bits, for which the run has no range: 0 becomes black and {top} "
            in told
        )


@pytest.mark.parametrize("shape", [(0, 0, 3), (8, 0, 3), (0, 5)])
def test_a_picture_without_pixels_is_an_error(pictures: tuple[Path, list[Path]], shape: tuple[int, ...]) -> None:
    run, files = pictures
    values = np.zeros(shape, np.uint8)
    tensor = torch.from_numpy(values) if len(shape) == 2 else torch.from_numpy(values).movedim(2, 0)
    opened = frostline.open(run, trust=True)
    for sample in (values, tensor, Image.new("L", (shape[1], shape[0]))):
        with pytest.raises(frostline.DataError, match="this is not a picture") as error:
            list(opened.predict([files[0], sample]))
        assert error.value.where == "sample 1"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_picture_with_values_that_are_no_grey_is_an_error(pictures: tuple[Path, list[Path]], value: float) -> None:
    values = np.full((9, 9), 0.5, np.float32)
    values[2, 2] = value
    for picture in (values, Image.fromarray(values)):
        with pytest.raises(frostline.DataError, match="holds NaN or infinite values") as error:
            list(frostline.open(pictures[0], trust=True).predict([picture]))
        assert error.value.where == "sample 0"


def test_values_can_be_computed_with(pictures: tuple[Path, list[Path]]) -> None:
    run, files = pictures
    (found,) = frostline.open(run, trust=True).predict(files[:1])
    found.values.add_(1)
    assert not found.values.requires_grad


@pytest.mark.parametrize(
    ("sample", "what"),
    [
        ("nowhere.png", "there is no such picture"),
        (7, "this is not a picture: a int"),
        (torch.zeros(3, 8, 8), "this is not a picture: a tensor of torch.float32"),
        (np.zeros((2, 2, 2, 2), np.uint8), "this is not a picture: an array of uint8 with the shape"),
        (Path(__file__), "a picture does not decode"),
    ],
)
def test_what_is_no_picture_is_an_error_that_counts_it(
    sample: Any, what: str, pictures: tuple[Path, list[Path]]
) -> None:
    run, files = pictures
    found = frostline.open(run, trust=True).predict([*files[:3], sample], batch_size=2)
    assert [next(found).columns["label"] for _ in range(2)]
    with pytest.raises(frostline.DataError, match=re.escape(what)) as error:
        next(found)
    assert "sample 3" in str(error.value.where)


def test_one_sample_alone_is_an_error(pictures: tuple[Path, list[Path]]) -> None:
    run, files = pictures
    opened = frostline.open(run, trust=True)
    colours = np.asarray(Image.open(files[0]))
    alone: list[Any] = [
        files[0],
        str(files[0]),
        colours,
        colours[..., 0],
        torch.from_numpy(colours.copy()).movedim(2, 0),
    ]
    alone += [{"image": files[0]}, Image.fromarray(colours), None, 5, np.float64(5)]
    for sample in alone:
        with pytest.raises(frostline.DataError, match="predict takes several samples, not one") as error:
            opened.predict(sample)
        assert error.value.next_step.startswith("predict([sample]), with brackets"), type(sample)
    several: list[Any] = [np.stack([colours] * 2), np.array([str(file) for file in files[:2]]), {*files[:2]}]
    assert [len([*opened.predict(samples)]) for samples in several] == [2, 2, 2]
    with pytest.raises(frostline.ConfigError, match="must be whole numbers, at least 1"):
        opened.predict(files, batch_size=0)


def test_a_table_of_samples_is_an_error_that_names_its_column(pictures: tuple[Path, list[Path]]) -> None:
    """Iterating one yields the names of columns, or columns. The proposed column can be predicted."""
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    run, files = pictures
    opened, columns = frostline.open(run, trust=True), {"image": [str(file) for file in files[:2]]}
    for table in (pandas.DataFrame(columns), arrow.table(columns), arrow.RecordBatch.from_pydict(columns)):
        with pytest.raises(frostline.DataError, match="not a table of them") as error:
            opened.predict(table)
        proposed = error.value.next_step.removeprefix("predict(").partition("), the column of pictures")[0]
        assert len([*opened.predict(eval(proposed.replace("<column>", "image"), {"table": table}))]) == 2


# --- the network as a module ---


def noise(number: int, *sides: int) -> torch.Tensor:
    return torch.randint(0, 256, (number, 3, *sides), generator=torch.Generator().manual_seed(number)).byte()


@pytest.mark.parametrize(("sides", "within"), [((8, 8), 1e-6), ((8, 12), 1e-6), ((20, 13), 5e-3)])
def test_the_module_gives_the_outputs_that_predict_answers_from(
    sides: tuple[int, int], within: float, pictures: tuple[Path, list[Path]]
) -> None:
    """Pillow rounds what it resizes to 8 bits, the module does not."""
    opened = frostline.open(pictures[0], trust=True)
    logits = opened.module(noise(6, *sides))
    assert (logits.dtype, logits.device.type, logits.requires_grad) == (torch.float32, "cpu", False)
    expected = torch.stack([it.values for it in opened.predict(noise(6, *sides))])
    assert expected.std() > 0.01, "the pictures differ"
    torch.testing.assert_close((logits / (opened.temperature or 1)).softmax(1), expected, rtol=0, atol=within)


def test_pixels_of_another_type_or_shape_are_an_error_of_the_module(pictures: tuple[Path, list[Path]]) -> None:
    module = frostline.open(pictures[0], trust=True).module
    for pixels in (noise(2, 8, 8) / 255, noise(2, 8, 8)[0], noise(2, 8, 8)[:, :1], noise(2, 8, 8).movedim(1, 3)):
        with pytest.raises(frostline.DataError, match=r"pixels must be \(B, 3, H, W\) in uint8, 0 to 255"):
            module(pixels)


def test_outputs_that_need_the_sizes_of_pictures_have_no_module(
    pictures: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Detection.stands_alone
    monkeypatch.setattr(Classification, "stands_alone", False)
    with pytest.raises(frostline.ConfigError, match="need the sizes of pictures") as error:
        _ = frostline.open(pictures[0], trust=True).module
    assert "frostline export run=" in error.value.next_step


@pytest.mark.parametrize("is_first", [True, False], ids=["before a call", "after a call"])
def test_the_module_can_be_exported(is_first: bool, pictures: tuple[Path, list[Path]]) -> None:
    preprocess._cached.cache_clear()
    module = frostline.open(pictures[0], trust=True).module
    if not is_first:
        module(noise(5, 20, 13))
    batch = torch.export.Dim("batch", max=64)
    exported = torch.export.export(module, (noise(5, 20, 13),), dynamic_shapes=({0: batch},)).module()
    for number in (5, 2):
        torch.testing.assert_close(exported(noise(number, 20, 13)), module(noise(number, 20, 13)))


def test_what_is_done_to_a_module_leaves_predictions_alone(pictures: tuple[Path, list[Path]]) -> None:
    run, files = pictures
    opened = frostline.open(run, trust=True)
    (before,) = opened.predict(files[:1])
    for value in opened.module.state_dict().values():
        value.zero_()
    (after,) = opened.predict(files[:1])
    assert torch.equal(before.values, after.values)


# --- opening ---


def test_foreign_code_needs_trust(pictures: tuple[Path, list[Path]]) -> None:
    run, _ = pictures
    with pytest.raises(frostline.RunError, match=r"model: runs tiny\.Tiny") as error:
        frostline.open(run)
    assert error.value.next_step.startswith(f"frostline.open('{run}', trust=True)")


def test_what_cannot_be_opened_is_an_error(tmp_path: Path, pictures: tuple[Path, list[Path]]) -> None:
    with pytest.raises(frostline.RunError, match="no such folder"):
        frostline.open(tmp_path / "nowhere")
    with pytest.raises(frostline.RunError, match="no checkpoint 'first'"):
        frostline.open(pictures[0], trust=True, checkpoint="first")
    with pytest.raises(frostline.ConfigError, match=r"trainer\.accelerator"):
        frostline.open(pictures[0], trust=True, accelerator="abacus")


def test_opening_leaves_warnings_and_logging_alone(pictures: tuple[Path, list[Path]]) -> None:
    import logging
    import warnings

    before = warnings.filters[:], logging.getLogger("lightning.pytorch").level
    frostline.open(pictures[0], trust=True)
    assert (warnings.filters[:], logging.getLogger("lightning.pytorch").level) == before


# --- texts, words and masks ---


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"model.weights={make_tokenizer(tmp_path_factory.mktemp('tokenizer') / 'it')}"


def test_texts_have_the_probabilities_of_the_command(program: Program, tmp_path: Path, tokenizer: str) -> None:
    rows = [["aa ab " * (1 + n % 7), "yes"] if n % 2 else ["kl la " * (1 + n % 5), "no"] for n in range(60)]
    with (tmp_path / "it.csv").open("w") as file:
        csv.writer(file).writerows([["text", "label"], *rows])
    run = trained(tmp_path, *TEXTS, tokenizer, "data=text_csv", f"data.train_file={tmp_path / 'it.csv'}")
    texts = ["aa ab", "kl " * 9, "la", "aa kl ab", "bb cc dd"]
    (tmp_path / "new.txt").write_text("\n".join(texts))
    expected = told(program, run, f"input={tmp_path / 'new.txt'}")
    opened = frostline.open(run, trust=True)
    assert sorted(opened.classes) == ["no", "yes"]
    found = list(opened.predict(texts, batch_size=2))
    assert [row.pop("text").strip() for row in expected] == [text.strip() for text in texts]
    for prediction, row in zip(found, expected, strict=True):
        require_told(prediction.columns, row)
    for sample in (("aa", "bb"), " ", 7):
        with pytest.raises(frostline.DataError, match="blank, or not in the run's form") as error:
            list(opened.predict(["aa", sample]))
        assert error.value.where == "sample 1"

    with pytest.raises(frostline.DataError, match="half of a surrogate pair") as error:
        list(opened.predict(["aa", "\ud800 aa"]))
    assert error.value.where == "sample 1"
    with pytest.raises(
        frostline.ConfigError, match="this run takes texts, and only pictures enter a module"
    ) as refused:
        _ = opened.module
    assert refused.value.next_step.startswith(f"predict(samples) reads them; frostline export run={run} output=")


def test_words_have_the_probabilities_of_the_command(
    program: Program, tmp_path: Path, tokenizer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "it.conll").write_text("aa\tB-x\nbb\tI-x\nkl\tO\n\nla\tO\n\n" * 20)
    typed = ["task=token_classification", "data=conll", f"data.train_file={tmp_path / 'it.conll'}"]
    run = trained(tmp_path, *TEXTS, tokenizer, *typed, "data.max_length=8")
    sentences = ["aa bb kl", "kl " * 9, "la"]
    (tmp_path / "new.txt").write_text("\n".join(sentences))
    expected = told(program, run, f"input={tmp_path / 'new.txt'}")
    opened = frostline.open(run, trust=True)
    assert "cut off" not in capsys.readouterr().err
    found = list(opened.predict(sentences, batch_size=1))
    again = list(opened.predict([sentence.split() for sentence in sentences], batch_size=1))
    err = capsys.readouterr().err
    assert err.count("tokens or more: the rest is cut off") == 1, "a note at the first text, for both calls"
    assert "sample 1 has 8 tokens or more: the rest is cut off" in err
    assert opened.task == "token_classification"
    assert [it.columns for it in again] == [it.columns for it in found]
    assert [len(it.values) for it in found] == [3, 9, 1]
    assert found[1].values[6:].isnan().all(), "eight tokens, two of them special"
    with pytest.raises(frostline.DataError, match="half of a surrogate pair") as error:
        list(opened.predict([["aa", "\udfff"]]))
    assert error.value.where == "sample 0"
    rows = [
        {"sentence": str(number), **dict(zip(it.columns, cells, strict=True))}
        for number, it in enumerate(found, 1)
        for cells in zip(*it.columns.values(), strict=True)
    ]
    assert len(rows) == len(expected) == 13
    for row, other in zip(rows, expected, strict=True):
        if row["tag"]:
            require_told(row, other)
        else:
            assert {name: cell or "" for name, cell in row.items()} == other
    with pytest.raises(frostline.DataError, match="this is not a sentence"):
        list(opened.predict([[]]))


@pytest.mark.parametrize("name", ["abstain", "conformal", "batch_size", "top_k"])
def test_a_word_in_place_of_a_number_is_refused(name: str) -> None:
    words: dict[str, Any] = {name: "x"}
    with pytest.raises(frostline.ConfigError) as error:
        Predictor.__new__(Predictor).predict([], **words)
    assert name in str(error.value.where)


@pytest.mark.long
def test_masks_of_large_pictures_are_those_of_the_command(program: Program, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(20):
        mask = np.zeros((32, 32), np.uint8)
        mask[:, : generator.integers(5, 28)] = 1
        for folder, values in (("images", np.where(mask == 1, 200, 30).astype(np.uint8)), ("masks", mask)):
            (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(tmp_path / "in" / folder / f"{number}.png")
    typed = ["task=segmentation", "head=unet", "data=image_masks", f"data.dir={tmp_path / 'in'}", "data.batch_size=4"]
    run = trained(tmp_path, *QUICK, *typed, "data.image_size=32")
    (tmp_path / "new").mkdir()
    for name, sides in (("large", (90, 70)), ("small", (32, 32))):
        values = generator.integers(0, 255, sides, dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "new" / f"{name}.png")
    answer = program("predict", f"run={run}", f"input={tmp_path / 'new'}", f"output={tmp_path / 'out.csv'}")
    assert answer.code == 0, answer.err
    with (tmp_path / "out.csv").open() as file:
        expected = list(csv.DictReader(file))
    files = [Path(row["file"]) for row in expected]
    opened = frostline.open(run)
    for source in (files, [Image.open(file) for file in files]):
        for prediction, row in zip(opened.predict(source), expected, strict=True):
            mask = np.asarray(Image.open(tmp_path / row["prediction"]))
            assert (prediction.values.numpy() != mask).mean() < 1e-3
            assert prediction.columns.keys() == row.keys() - {"file", "prediction"}
            assert prediction.columns["label"] == row["label"]


def test_the_lines_of_the_readme_work(
    pictures: tuple[Path, list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, files = pictures
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    own = lines.replace('"<run folder>"', f"{str(run)!r}, trust=True")
    assert own != lines
    monkeypatch.chdir(tmp_path)
    for name, file in (("one.jpg", files[0]), ("another.jpg", files[-1])):
        Image.open(file).save(tmp_path / name)
    exec(own, {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert all(re.fullmatch(r"(cat|dog) [01]\.\d{6}", line) for line in printed)


@pytest.mark.parametrize(
    ("precision", "plan", "within"),
    [
        ("32-true", ["schedule=head_only"], 2e-6),
        ("bf16-mixed", ["schedule=head_only"], 2e-4),
        # Autocast differs by 3e-3 here, another frost line by 1e-3.
        ("bf16-mixed", ["schedule=last_block", "schedule.phases.head=null"], 2e-4),
    ],
)
def test_a_frozen_backbone_predicts_what_it_was_tested_with(
    precision: str, plan: list[str], within: float, program: Program, tmp_path: Path
) -> None:
    """In bfloat16, blocks below the frost line are folded in the test of a run. The pictures are noise, so that
    most probabilities are far from 0 and 1."""
    folder, generator = tmp_path / "in", np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            noise = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / name / f"{number}.png")
    pictures = ["data=image_folder", f"data.dir={folder}", "data.image_size=32"]
    quick = ["trainer=cpu", f"trainer.precision={precision}", "logger=none", "report=false", "run_dir=run"]
    answer = program("train", "model=bundled", *plan, *pictures, *quick)
    assert answer.code == 0, answer.err
    stored = pq.read_table(tmp_path / "run" / "predictions" / "test.parquet").to_pydict()
    expected = torch.tensor(stored["logits"]).softmax(1)
    opened = frostline.open(tmp_path / "run", calibration="none")
    found = torch.stack([it.values for it in opened.predict([folder / name for name in stored["sample"]])])
    assert (found - expected).abs().max() < within
