"""A reader of your own sounds, listed in a table of paths and targets."""

from pathlib import Path

from frostline.data.files.listed import ListedFiles
from frostline.data.sounds.files import SOUNDS
from frostline.data.sounds.modality import SoundModality
from frostline.data.sounds.sources import SoundSamples
from frostline.data.split_columns import SplitBy
from frostline.data.tables.text_files import read_utf8
from frostline.data.target_types.base import TargetType
from frostline.errors import ConfigError, DataError, few
from frostline.paths import at_home


class AudioCsv(ListedFiles):
    """vocabulary: a file with a character in each line, from which transcripts are made. Otherwise as `ListedFiles`."""

    modality = SoundModality
    files = SOUNDS
    samples = SoundSamples

    def __init__(
        self,
        *,
        file: str,
        dir: str | None,
        path_column: str,
        suffix: str,
        target_columns: list[str],
        vocabulary: str | None,
        separator: str | None,
        quotes: bool | None,
        split_column: str | None,
        split_by: SplitBy,
        time_column: str | None,
        user_column: str | None,
        relevant: float | str | None,
        group_column: str | None,
        group_columns: list[str] | None,
    ) -> None:
        super().__init__(
            file=file,
            dir=dir,
            path_column=path_column,
            suffix=suffix,
            target_columns=target_columns,
            separator=separator,
            quotes=quotes,
            split_column=split_column,
            split_by=split_by,
            time_column=time_column,
            user_column=user_column,
            relevant=relevant,
            group_column=group_column,
            group_columns=group_columns,
        )
        self.vocabulary = at_home(vocabulary) if vocabulary is not None else None

    def vocabulary_for(self, target: TargetType) -> list[str] | None:
        if self.vocabulary is None:
            return None
        if not target.takes_vocabulary:
            raise ConfigError(
                f"data.vocabulary lists characters of transcripts, but this task learns from {target.described_as}",
                where="data.vocabulary",
                next_step="data.vocabulary=null, or task=transcription",
            )
        return characters_in(self.vocabulary)


def characters_in(file: Path) -> list[str]:
    """The characters of a file with one in each line; a line with one blank is the blank. Raises DataError for a line
    of several, or a character that is listed twice."""
    lines = [line for line in read_utf8(file).splitlines() if line]
    faulty = [f"line {place}: '{line}'" for place, line in enumerate(lines, 1) if len(line) > 1]
    twice = [f"'{line}'" for place, line in enumerate(lines) if line in lines[:place]]
    if faulty or twice or not lines:
        what = f"several characters in {few(faulty)}" if faulty else f"{few(twice)} twice" if twice else "nothing"
        raise DataError(
            f"a vocabulary has one character in each line, but this has {what}",
            where=file,
            next_step="correct the file, or data.vocabulary=null for the characters of the training transcripts",
        )
    return lines
