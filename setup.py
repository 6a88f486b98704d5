"""Packaging. Exact versions of everything are pinned in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

CORE = [
    "numpy>=2.0",
    "scipy>=1.13",
    "array-api-compat>=1.11",  # one source for the NumPy and the torch form of the implicit step
    "jsonargparse[signatures]>=4.40",  # command line and YAML from dataclasses
    "rich>=13",  # tables and progress bars
]
LLM = [
    "torch>=2.6",
    "transformers>=5.0",
    "accelerate>=1.10",
    "einops>=0.8",
    "safetensors>=0.5",
    "matplotlib>=3.9",  # figures of a run
    "jinja2>=3.1",  # report.html
]
# Language models behind an OpenAI-compatible endpoint, as judges. httpx2 is the maintained continuation of httpx, and
# what transformers brings along anyway.
JUDGES = ["httpx2>=2.0", "tenacity>=9.0"]
# What the benchmarks compare with. pref_voting is compared too, but asks for a numba that the pinned NumPy is too
# new for, so it is installed without its requirements: see `make bench`.
BENCH = [
    "matplotlib>=3.9",  # the figure
    "numba>=0.61",  # our compiled kernel
    "python-flint>=0.7",  # our proofs
    "highspy>=1.10",
    "quantecon>=0.10",
    "ortools>=9.12",  # PDLP
    "cvxpy>=1.6",
    "clarabel>=0.10",
    "nashpy>=0.0.40",
    "open_spiel>=1.6",
]

setup(
    name="rebel_pref",
    version="0.1.0",
    description="Solve general-preference (intransitive) games, from matrices to language-model self-play",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["rebel_pref", "rebel_pref.*", "preference_models", "preference_models.*"]),
    package_data={"rebel_pref": ["recipes/*.yaml", "cli/*.j2", "py.typed"]},
    install_requires=CORE,
    extras_require={
        "llm": LLM,
        "tensorboard": ["tensorboard>=2.18"],
        "figures": ["matplotlib>=3.9", "jinja2>=3.1"],  # rebel-pref solve --figure, rank --html
        "fast": ["numba>=0.61"],  # compiled pivoting for small games and batches
        "exact": ["python-flint>=0.7"],  # rational linear algebra for exact=True
        "judges": JUDGES,
        "data": ["datasets>=4.0"],  # comparisons from Parquet and from folders of datasets
        "lora": ["peft>=0.21"],  # model.add_adapter(peft.LoraConfig(...)) on any model here
        "bench": BENCH,
        "dev": [
            *JUDGES,
            "peft>=0.21",
            "datasets>=4.0",
            "pytest>=8",
            "pytest-xdist>=3.6",  # the suite on both cores
            "hypothesis>=6.100",
            "ruff>=0.9",
            "mypy>=1.14",
            "scipy-stubs>=1.15",
            "types-PyYAML>=6.0",
            "numba>=0.61",
            "python-flint>=0.7",
            "pandas>=2.2",  # games from data frames
        ],
    },
    entry_points={"console_scripts": ["rebel-pref = rebel_pref.cli:main"]},
)
