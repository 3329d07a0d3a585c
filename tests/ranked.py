"""`python ranked.py train ...` is `python -m frostline train ...`, but the other ranks of its runs are forked from a
process that has imported torch (forked.py)."""

import os
import subprocess
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from lightning.pytorch.strategies.launchers import subprocess_script

from forked import stand_in
from frostline.__main__ import main
from frostline.distributed.launcher import LEADER


def started(command: Sequence[str], **own: Any) -> "subprocess.Popen[bytes]":
    """command: Lightning's, the interpreter first."""
    return subprocess.Popen(stand_in(*command[1:]), **own)


if __name__ == "__main__":
    if os.environ.get("LOCAL_RANK", "0") != "0":
        os.environ[LEADER] = str(os.getppid())  # the parent of a fork is not rank 0
    with patch.object(subprocess_script, "subprocess", SimpleNamespace(Popen=started)):
        main()
