"""Data sets that Hugging Face's library loads, from folders: no network."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frostline.data.target_types.find import target_type
from frostline.data.texts.hub import read_hub_tags, read_hub_texts
from frostline.errors import ConfigError, DataError

datasets = pytest.importorskip("datasets", reason="the extra `text` is not installed")

SPLITS: dict[str, Any] = {"config": None, "train_split": "train", "val_split": None, "test_split": None}
TEXTS: dict[str, Any] = {"text_columns": ["text"], "target_columns": ["label"], "separator": None}
TAGS = {"word_column": "tokens", "tag_column": "ner_tags"}


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Under a name without `test`: the library takes a word of the whole path for the split."""
    return tmp_path_factory.mktemp("set")


@pytest.fixture(autouse=True)
def own_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is asked of the network, or kept in the user's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def put(folder: Path, features: dict[str, Any], **parts: dict[str, list[Any]]) -> str:
    for part, columns in parts.items():
        made = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        made.to_parquet(folder / f"{part}.parquet")
    return str(folder)


NAMED = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg", "never"])}


def test_names_of_classes_are_taken_over_in_their_order(folder: Path) -> None:
    path = put(folder, NAMED, train={"text": [" a ", "b"], "label": [1, 0]}, test={"text": ["c"], "label": [1]})
    data = read_hub_texts(target_type("class"), path=path, **SPLITS | {"test_split": "test"}, **TEXTS)
    assert data.names == ["pos", "neg", "never"]
    assert data.train.strings == [(" a ",), ("b",)]
    assert data.train.labels.tolist() == [1, 0]
    assert data.test is not None
    assert data.test.labels.tolist() == [1]
    assert data.test.where(0) == f"{path} (test), index 0"


def test_other_targets_are_read_as_those_of_tables(folder: Path) -> None:
    (folder / "train.csv").write_text("a,b,label,score\nx,y,dog,0.5\nz,w,cat,2\n")
    settings = SPLITS | {"path": str(folder), "text_columns": ["a", "b"], "separator": None}
    data = read_hub_texts(target_type("class"), target_columns=["label"], **settings)
    assert (data.names, data.train.strings) == (["cat", "dog"], [("x", "y"), ("z", "w")])
    scores = read_hub_texts(target_type("numbers"), target_columns=["score"], **settings)
    assert scores.train.labels.tolist() == [[0.5], [2]]


def test_blanks_around_a_target_make_no_other_class(folder: Path) -> None:
    (folder / "train.jsonl").write_text(
        '{"text": " x ", "label": " dog"}\n{"text": "y", "label": "dog"}\n{"text": "z", "label": "cat "}\n'
    )
    data = read_hub_texts(target_type("class"), path=str(folder), **SPLITS, **TEXTS)
    assert (data.names, data.train.labels.tolist()) == (["cat", "dog"], [1, 1, 0])
    assert data.train.strings[0] == (" x ",)


@pytest.mark.parametrize("named", [True, False])
def test_lists_are_words_and_tags(folder: Path, named: bool) -> None:
    names = ["O", "B-x", "I-x"]
    tag = datasets.ClassLabel(names=names) if named else datasets.Value("string")
    features = {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(tag)}
    tags: list[Any] = [[1, 2], [0]] if named else [["B-x", "I-x"], ["O"]]
    path = put(folder, features, train={"tokens": [["a", "b"], ["c"]], "ner_tags": tags})
    data = read_hub_tags(path=path, **SPLITS, **TAGS)
    assert (data.names, data.train.strings, data.train.labels) == (names, [["a", "b"], ["c"]], [[1, 2], [0]])
    assert data.train.where(1) == f"{path} (train), index 1"


@pytest.mark.parametrize("named", [True, False])
def test_blanks_around_a_tag_make_no_other_entity(folder: Path, named: bool) -> None:
    tag = datasets.ClassLabel(names=["O", "B-x "]) if named else datasets.Value("string")
    features = {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(tag)}
    tags: list[Any] = [[1], [0]] if named else [["B-x "], [" O"]]
    path = put(folder, features, train={"tokens": [["a"], ["b"]], "ner_tags": tags})
    data = read_hub_tags(path=path, **SPLITS, **TAGS)
    assert (data.names, data.train.labels) == (["O", "B-x", "I-x"], [[1], [0]])


def test_splits_that_no_setting_names_are_told_where_a_part_is_split_off(folder: Path) -> None:
    rows = {"text": ["a", "b"], "label": [1, 0]}
    path = put(folder, NAMED, train=rows, validation=rows, test=rows)

    def notes(**splits: str | None) -> list[str]:
        return [*read_hub_texts(target_type("class"), path=path, **SPLITS | splits, **TEXTS).notes]

    validation, test = "validation (data.val_split=validation)", "test (data.test_split=test)"
    assert notes() == [f"the data set also has: {validation}, {test}"]
    assert notes(val_split="validation[:1]") == [f"the data set also has: {test}"]
    assert notes(train_split="train+test") == [f"the data set also has: {validation}"]
    assert notes(test_split="validation") == ["the data set also has: test"], "a part that it would be has another"
    assert notes(val_split="validation", test_split="test") == []


def test_further_splits_of_tags_are_told_beside_how_tags_were_read(folder: Path) -> None:
    features = {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.Value("string"))}
    rows = {"tokens": [["a", "b"]], "ner_tags": [["I-x", "O"]]}
    data = read_hub_tags(path=put(folder, features, train=rows, test=rows), **SPLITS, **TAGS)
    begun, further = data.notes
    assert "IOB1" in begun
    assert further == "the data set also has: test (data.test_split=test)"


def refused(path: str, **settings: Any) -> DataError:
    with pytest.raises(DataError) as error:
        read_hub_texts(target_type("class"), **{"path": path} | SPLITS | TEXTS | settings)
    return error.value


def test_what_cannot_be_loaded_says_where_and_what_to_do(folder: Path) -> None:
    path = put(folder, NAMED, train={"text": ["a", "b", "c"], "label": [0, 1, -1]})
    hidden = refused(path)
    assert "'-1' in 'label'" in hidden.what
    assert hidden.where == f"{path} (train), index 2"
    assert "withheld" in hidden.next_step
    assert "Unknown split" in refused(path, val_split="dev").what
    assert "data.val_split" in refused(path, val_split="dev").next_step
    assert "BuilderConfig 'other' not found" in refused(path, config="other").what
    assert "did you mean text" in refused(path, text_columns=["texts"]).what
    assert "cannot be loaded" in refused(str(folder / "absent")).what
    assert "the path names no folder" in refused("").what
    assert "without a network" in refused("nobody/nothing").next_step
    with pytest.raises(ConfigError, match="is used twice"):
        read_hub_texts(target_type("class"), path=path, **SPLITS | {"test_split": "train"}, **TEXTS)


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("train.json", "", "one of its files is empty"),
        ("train.csv", "", "No columns to parse"),
        ("train.csv", 'text,label\na,b\n"c', "inside string"),
    ],
)
def test_the_cause_is_told_where_a_file_of_the_folder_is_broken(
    folder: Path, file: str, content: str, cause: str
) -> None:
    (folder / file).write_text(content)
    assert cause in refused(str(folder)).what


def test_tags_that_do_not_go_with_their_words_are_named(folder: Path) -> None:
    features = {
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=["O", "B-x"])),
        "text": datasets.Value("string"),
    }
    for words, tags, what in (
        (["a", "b"], [1], "2 words and 1 tags"),
        ([], [], "0 words"),
        (["a"], [-1], "-1 in 'ner_tags'"),
    ):
        row = {"tokens": [["z"], words], "ner_tags": [[1], tags], "text": ["", ""]}
        path = put(folder, features, train=row)
        with pytest.raises(DataError, match=what) as error:
            read_hub_tags(path=path, **SPLITS, **TAGS)
        assert error.value.where == f"{path} (train), index 1"
    with pytest.raises(DataError, match="'text' does not hold lists") as error:
        read_hub_tags(path=path, **SPLITS, **TAGS | {"word_column": "text"})
    assert "data.text_columns=[<words>] data.target_columns=[<tags>]" in error.value.next_step


def test_without_the_library_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError) as error:
        read_hub_texts(target_type("class"), path=str(folder), **SPLITS, **TEXTS)
    assert error.value.next_step.startswith('pip install "frostline[text]"')


@pytest.mark.parametrize(
    ("card", "refused"),
    [
        (
            "---\npretty_name: a---b\nconfigs:\n- config_name: default\n  data_files: https://example.org/x.csv\n---\n",
            True,
        ),
        ("---\nconfigs:\n- data_files:\n  - split: train\n    path: ../../secret.csv\n---\n", True),
        ("---\nconfigs:\n- data_dir: /etc\n---\n", True),
        ("---\nconfigs: [*a]\n---\n", True),
        (f"---\nx: {'a' * 200_000}\nconfigs: []\n---\n", True),
        ("---\nlicense_link: https://example.org/license\npretty_name: Wait... what\n---\n", False),
        ("---\nconfigs:\n- config_name: default\n  data_files: train.csv\n---\n", False),
        ("no header at all: https://example.org", False),
    ],
)
def test_a_folder_that_names_files_elsewhere_is_refused(tmp_path: Path, card: str, refused: bool) -> None:
    from frostline.data.texts.hub import _require_own_files

    (tmp_path / "README.md").write_text(card)
    if refused:
        with pytest.raises(DataError, match=r"README\.md"):
            _require_own_files(tmp_path)
    else:
        _require_own_files(tmp_path)
