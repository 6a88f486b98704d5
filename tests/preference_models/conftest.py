"""One thread (small matrices are slower on many), no progress bars, no network."""

import os

import pytest
import torch
from transformers.utils import logging

os.environ["HF_HUB_OFFLINE"] = "1"
logging.disable_progress_bar()


@pytest.fixture(autouse=True)
def one_thread():
    """Run a test on one thread, and give the threads back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
