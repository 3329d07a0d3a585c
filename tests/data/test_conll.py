"""Files of tagged words, and their tags as BIO."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from frostline.data.reader import Found
from frostline.data.texts import to_predict as unlabelled_texts
from frostline.data.texts.bio_tags import Sentence, Tagged, tagged_set
from frostline.data.texts.conll import read_conll, read_sentences
from frostline.errors import DataError


def read(folder: Path, train: str | bytes, test: str | None = None) -> Found:
    (folder / "train.conll").write_bytes(train.encode() if isinstance(train, str) else train)
    if test is not None:
        (folder / "test.conll").write_text(test)
    test_file = "test.conll" if test is not None else None
    return read_conll(dir=str(folder), train_file="train.conll", val_file=None, test_file=test_file, source=None)


def tags(data: Found) -> list[list[str]]:
    return [[data.names[tag] for tag in sentence] for sentence in data.train.labels]


PLAIN = "Ada\tB-person\nLovelace\tI-person\nin\tO\n\nLondon\tB-place\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN + "\n\n",
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\t", " "),
        PLAIN.replace("\t", "   "),
        PLAIN.replace("\t", "\tNN\t_\t"),
        "\ufeff" + PLAIN,
        "-DOCSTART- -X- O O\n\n" + PLAIN.replace("\n\n", "\n\n-DOCSTART-\n \n\n"),
        PLAIN.replace("\n\n", "\n-DOCSTART- -X- O O\n"),
        PLAIN.rstrip("\n"),
    ],
)
def test_words_and_tags_are_read_whatever_wrote_them(tmp_path: Path, content: str) -> None:
    data = read(tmp_path, content)
    assert data.train.strings == [["Ada", "Lovelace", "in"], ["London"]]
    assert data.names == ["O", "B-person", "I-person", "B-place", "I-place"]
    assert data.train.labels == [[1, 2, 0], [3]]
    assert data.notes == []
    assert data.val is None


def test_where_a_sentence_begins_is_told(tmp_path: Path) -> None:
    train = read(tmp_path, f"\n\n{PLAIN}").train
    assert [train.where(number) for number in range(2)] == [f"{tmp_path}/train.conll, line {line}" for line in (3, 7)]


def test_tabs_alone_separate_where_there_are_some_and_other_blanks_never_do(tmp_path: Path) -> None:
    assert read(tmp_path, "New York\tB-x\n").train.strings == [["New York"]]
    assert read(tmp_path, "10\u00a0km\u2028x B-x\n").train.strings == [["10\u00a0km\u2028x"]]


WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Zs", "Cc"], exclude_characters="\ufeff\u2028\u2029"), min_size=1
)
SENTENCES = st.lists(
    st.lists(st.tuples(WORDS.filter(lambda word: not word.startswith("-DOCSTART-")), st.booleans()), min_size=1),
    min_size=1,
)


@given(SENTENCES, st.sampled_from(["\t", " ", "\tx y\t", "  NN  "]), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, sentences: list[list[tuple[str, bool]]], between: str, end: str
) -> None:
    file = tmp_path_factory.mktemp("conll") / "t.conll"
    lines = [line for s in sentences for line in [*(f"{word}{between}{'B-x' if on else 'O'}" for word, on in s), ""]]
    file.write_bytes(end.join(lines).encode())
    found = read_sentences(file)
    assert [[*zip(s.words, s.tags, strict=True)] for s in found] == [
        [(word, "B-x" if on else "O") for word, on in s] for s in sentences
    ]
    assert all(lines[place - 1].startswith(word) for s in found for word, place in zip(s.words, s.places, strict=True))


# --- spellings ---


def lines_of(said: str) -> str:
    return "\n".join(f"w\t{tag}" for tag in said.split())


@pytest.mark.parametrize(
    ("said", "bio", "note"),
    [
        ("I-x I-x O I-y I-x B-x", "B-x I-x O B-y B-x B-x", "3 entities begin without B-"),
        ("B-x I-y I-y", "B-x B-y I-y", "1 entities begin without B-"),
        ("B-x I-x E-x S-y O", "B-x I-x I-x B-y O", "2 tags of BIOES or BILOU"),
        ("U-x B-x L-x", "B-x B-x I-x", "2 tags of BIOES or BILOU"),
    ],
)
def test_other_spellings_are_read_as_bio_and_that_is_told(tmp_path: Path, said: str, bio: str, note: str) -> None:
    data = read(tmp_path, lines_of(said))
    assert tags(data) == [bio.split()]
    (told,) = data.notes
    assert note in told
    assert "train.conll" in told


@given(
    st.lists(
        st.sampled_from(["O", *(f"{prefix}-{entity}" for prefix in "BIES" for entity in "xy")]), min_size=1, max_size=8
    )
)
def test_entities_are_those_that_seqeval_finds_in_the_tags_as_they_stand(said: list[str]) -> None:
    known = Sentence(["w", "w"], ["B-x", "B-y"], [0, 1])
    read_tags = tagged_set(
        {"train": Tagged("here", [known, Sentence(["w"] * len(said), said, [0] * len(said))], "line")}
    )
    bio = [read_tags.names[tag] for tag in read_tags.train.labels[1]]
    assert {tag[0] for tag in bio} <= set("BIO")
    assert get_entities(bio) == get_entities(said)


def test_the_end_of_a_sentence_ends_its_entity(tmp_path: Path) -> None:
    data = read(tmp_path, f"{lines_of('B-x')}\n\n{lines_of('I-x')}")
    assert tags(data) == [["B-x"], ["B-x"]]


def test_an_entity_goes_on_in_another_part_though_never_in_training(tmp_path: Path) -> None:
    data = read(tmp_path, lines_of("B-x O"), test=lines_of("O B-x I-x"))
    assert data.test is not None
    assert data.test.labels == [[0, 1, 2]]


BAD: dict[str, tuple[str | bytes, str, str]] = {
    "a word alone": ("a B-x\nb\n", "does not hold a word and a tag: 'b'", "line 2"),
    "a tag alone": ("a\tB-x\n\tO\n", "does not hold a word and a tag", "line 2"),
    "a word and a tab": ("a\tB-x\nb\t\n", "does not hold a word and a tag", "line 2"),
    "a prefix of no spelling": ("a B-x\nb M-x\n", "'M-x' is not an entity tag", "line 2"),
    "an entity without a name": ("a B-\n", "'B-' is not an entity tag", "line 1"),
    "parts of speech": ("a DET\n", "'DET' is not an entity tag", "line 1"),
    "a comment": ("# sent_id = 1\na B-x\n", "4 columns, but line 2 has 2: '# sent_id = 1'", "line 1"),
    "a blank within a word": ("a O\nNew York B-x\n", "3 columns, but line 1 has 2: 'New York B-x'", "line 2"),
    "a column less": ("a NN O\nb B-x\n", "2 columns, but line 1 has 3: 'b B-x'", "line 2"),
    "no entity": ("a O\n", "no word of the training split belongs to an entity", "train.conll"),
    "nothing": ("", "no sentences", "train.conll"),
    "empty lines": ("\n \n\n", "no sentences", "train.conll"),
    "not UTF-8": ("a B-x\nb\u00e4r O\n".encode("latin1"), "not UTF-8", "line 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_makes_no_data_says_where_and_why(tmp_path: Path, case: str) -> None:
    content, what, where = BAD[case]
    with pytest.raises(DataError) as refused:
        read(tmp_path, content)
    assert what in refused.value.what
    assert str(refused.value.where).endswith(where)
    assert refused.value.next_step


def test_all_faulty_lines_are_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 lines of the file are faulty") as refused:
        read(tmp_path, "a O\nNew York B-x\n\nb\nLos Angeles B-x\n")
    assert [f"line {line}: " in refused.value.what for line in (1, 2, 4, 5)] == [False, True, True, True]


CONLL_U = """# sent_id = 1
# text = Ada don't go.
1\tAda\tAda\tPROPN\tNNP\t_\t3\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t3\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\t_\t_\t_\t_\t_\t_

# sent_id = 2
1\tNew York\tNew York\tPROPN\tNNP\t_\t0\troot\t_\t_
"""
GERMEVAL = "#\thttp://here\n1\tAda\tB-PER\tO\n2\tgeht\tO\tO\n\n1\tJa\tO\tO\n"
BY_BLANKS = "1 Ada B-PER\n2 geht O\n\n1 Ja O\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [(CONLL_U, [["Ada", "do", "n't"], ["New York"]]), (GERMEVAL, [["Ada", "geht"], ["Ja"]]),
     (BY_BLANKS, [["Ada", "geht"], ["Ja"]])],
)  # fmt: skip
def test_numbered_words_are_refused_with_a_command_that_works(
    tmp_path: Path, content: str, words: list[list[str]]
) -> None:
    file = tmp_path / "it's 100%.conllu"
    file.write_text(content)
    with pytest.raises(DataError, match="begins with the number of its word, as in CoNLL-U") as refused:
        unlabelled_texts.read_sentences(file)
    subprocess.run(refused.value.next_step, shell=True, check=True, cwd=tmp_path)
    assert unlabelled_texts.read_sentences(tmp_path / "words.conll").samples == words
    with pytest.raises(DataError, match="begins with the number") as refused:
        read_sentences(file)
    assert refused.value.next_step.endswith("  # $3: the column of the tags")
    subprocess.run(refused.value.next_step, shell=True, check=True, cwd=tmp_path)
    assert [sentence.words for sentence in read_sentences(tmp_path / "words.conll")] == words


@pytest.mark.parametrize("content", ["1 O\n2 B-x\n", "1 CD B-x\n\nto O O\n", "1 CD B-x\n", "3 CD O\n1 CD B-x\n"])
def test_words_that_are_numbers_are_words(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content).train.strings[0][0] == content[0]


def test_an_entity_of_the_test_part_alone_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="the entity of 'S-persn' does not occur in training: did you mean B-person"
    ) as no:
        read(tmp_path, "a B-person\n", test="a O\n\nb S-persn\n")
    assert no.value.where == f"{tmp_path / 'test.conll'}, line 3"


def test_wnut17_is_what_its_readme_says(shared: Path) -> None:
    files = {"train_file": "train.conll", "val_file": "dev.conll", "test_file": "test.conll"}
    data = read_conll(dir=str(shared / "wnut17"), source=None, **files)
    assert len(data.names) == 13
    splits = [split for split in (data.train, data.val, data.test) if split is not None]
    assert [len(split) for split in splits] == [3394, 1009, 1287]
    assert [sum(map(len, split.strings)) for split in splits] == [62730, 15733, 23394]
    assert [sum(tag % 2 for tags in split.labels for tag in tags) for split in splits] == [1975, 836, 1079]
    assert [max(map(len, split.strings)) for split in splits] == [41, 82, 105]
    assert data.notes == []
