"""Real comparisons and games for tests that want them; those tests are skipped where the data folder is absent.

The folder is named by the environment variable REBEL_PREF_DATA; without it, ``shared/data`` beside the checkout.
"""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from rebel_pref.games import Comparisons


def data_folder():
    """The folder with the data; skips the test that asks where there is none."""
    folder = Path(os.environ.get("REBEL_PREF_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set REBEL_PREF_DATA")
    return folder


def data_file(name):
    """One file of the folder, such as "preflib/00014-00000001.soc"; skips the test that asks where it is absent."""
    path = data_folder() / name
    if not path.exists():
        pytest.skip(f"no data at {path}")
    return path


def load_ukp(path):
    """Topics of UKPConvArg1 (Habernal & Gurevych 2016): which of two arguments convinces more, five votes a pair.

    One JSON object a line, with ``pairs`` = [i, j, votes for i, votes for j, votes for neither]. Returns a list of
    Comparisons, one a topic, without clusters: the file does not say who voted.
    """
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        topics = [json.loads(line) for line in stream]
    return [
        Comparisons(tuple(argument["id"] for argument in topic["arguments"]), *columns[:2], *columns[2:].astype(float))
        for topic in topics
        for columns in [np.array(topic["pairs"], dtype=np.int64).T]
    ]


def ukp_topics():
    """The 32 topics of UKPConvArg1, 25 to 35 arguments each."""
    return load_ukp(data_file("ukpconvarg1/ukpconvarg1_counts.jsonl.gz"))
