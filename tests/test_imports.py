"""The house: floors, what `import rebel_pref` loads, and public names that exist and say what they are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("rebel_pref", "preference_models")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# Longest prefix wins. rebel_pref/__init__.py is the front door of floors 0 and 1.
FLOORS = {
    "rebel_pref": 1,
    "rebel_pref.algorithms": 0,
    "rebel_pref.schedules": 0,
    "rebel_pref.targets": 0,
    "rebel_pref.proximal": 0,
    "rebel_pref.payoffs": 0,
    "rebel_pref.regression": 0,
    "rebel_pref.preferences": 0,
    "rebel_pref.atomic": 0,
    "rebel_pref.games": 1,
    "rebel_pref.solvers": 1,
    "rebel_pref.certificates": 1,
    "rebel_pref.solution": 1,
    "rebel_pref.bootstrap": 1,
    "rebel_pref.record": 1,
    "rebel_pref.diagnostics": 1,
    "rebel_pref.policies": 2,
    "preference_models": 2,
    "rebel_pref.selfplay": 3,
    "rebel_pref.cli": 4,
    "rebel_pref.theory": 4,
    "rebel_pref.__main__": 4,
}
# What may be imported from outside, besides the standard library; floors 2 and up are free.
THIRD_PARTY = {0: {"numpy", "array_api_compat"}, 1: {"numpy", "scipy"}}
# Two files need an extra, and are only reached by who asks for what they do.
OPTIONAL = {"rebel_pref.solvers.compiled": {"numba"}, "rebel_pref.solvers.exact": {"flint"}}


def module_name(path):
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_of(module):
    parts = module.split(".")
    return next(FLOORS[name] for k in range(len(parts), 0, -1) if (name := ".".join(parts[:k])) in FLOORS)


def package_of(module):
    """The unit whose files may import each other freely: preference_models, or the second name of rebel_pref."""
    parts = module.split(".")
    return parts[0] if parts[0] != "rebel_pref" else ".".join(parts[:2])


def imports(path):
    """Modules a file imports anywhere, inside functions too; relative imports are not used in this house."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            for alias in node.names:
                # `from rebel_pref import games` imports a module, `from rebel_pref.games import blotto` a name.
                child = ROOT / f"{node.module}.{alias.name}".replace(".", "/")
                is_module = child.is_dir() or child.with_suffix(".py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def ours(module):
    return module.split(".")[0] in PACKAGES


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_floors(path):
    """A file imports from lower floors, or from its own floor if that is one package (or floors 0 and 1)."""
    name = module_name(path)
    floor = floor_of(name)
    for imported in imports(path):
        if ours(imported):
            assert floor_of(imported) <= floor, f"{name} (floor {floor}) imports {imported}"
            same_house = package_of(imported) == package_of(name) or floor <= 1
            assert floor_of(imported) < floor or same_house or floor == 4, f"{name} imports its neighbour {imported}"
        elif floor in THIRD_PARTY:
            top = imported.split(".")[0]
            allowed = THIRD_PARTY[floor] | OPTIONAL.get(name, set()) | set(sys.stdlib_module_names) | {"__future__"}
            assert top in allowed, f"{name}: {imported}"


def test_every_floor_is_looked_at():
    """So that a renamed file cannot slip out of the test above."""
    names = {module_name(path) for path in FILES}
    assert {name for name in FLOORS if floor_of(name) == 0} <= names
    assert {floor_of(name) for name in names} >= {0, 1, 2, 3}


def test_no_solver_marks_its_own_work():
    """certificates.py sees the game and the policy, no solver; and no floor of arithmetic sees a game."""
    seen = set(imports(ROOT / "rebel_pref/certificates.py"))
    assert {m for m in seen if ours(m)} <= {"rebel_pref.games.game", "rebel_pref.preferences"}


def test_preference_models_know_preferences_only():
    """Pairwise models can be used without the solvers: they import the protocol, and how files are written."""
    seen = {m for path in (ROOT / "preference_models").rglob("*.py") for m in imports(path)}
    assert {m for m in seen if m.split(".")[0] == "rebel_pref"} <= {"rebel_pref.preferences", "rebel_pref.atomic"}


def loaded_after(statement):
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def test_importing_the_package_is_light():
    """A theorist with a matrix loads no deep-learning stack, no optimiser, no plotting."""
    loaded = loaded_after("import rebel_pref")
    assert "rebel_pref.solvers" in loaded
    assert "numpy" in loaded
    heavy = {"torch", "transformers", "accelerate", "scipy.optimize", "matplotlib", "jsonargparse", "rich", "pandas"}
    assert not heavy & loaded


def test_solving_a_matrix_needs_no_torch():
    """Floors 0 and 1 run on NumPy and SciPy alone, and a small game loads no optimiser and no compiler."""
    loaded = loaded_after(
        "import rebel_pref as rp; g = rp.games.rock_paper_scissors(); "
        "assert rp.solve(g).solved; rp.self_play(g, rp.proximal_rebel(1.0, 0.1), steps=3)"
    )
    assert not {"torch", "scipy.optimize", "numba", "flint"} & loaded
    assert "scipy.optimize" in loaded_after(
        "import rebel_pref as rp; rp.solve(rp.games.blotto(), method='linear_program')"
    )


def public(path):
    """The names of ``__all__`` and the top-level statement that binds each."""
    tree = ast.parse(path.read_text())
    bound = {}
    # A module that imports a heavy name on demand declares it under TYPE_CHECKING and gives it by __getattr__.
    lazy = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)
    typing = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for node in [*tree.body, *(inner for block in typing if lazy for inner in block.body)]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            bound[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound.update({alias.asname or alias.name: node for alias in node.names})
        elif isinstance(node, ast.Assign):
            bound.update({target.id: node for target in node.targets if isinstance(target, ast.Name)})
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            bound[node.target.id] = node
    listed = ast.literal_eval(bound["__all__"].value) if "__all__" in bound else None
    return tree, listed, bound


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_public_names(path):
    """Every module says what it is; every name in ``__all__`` exists, once, and classes and functions are described."""
    tree, listed, bound = public(path)
    assert ast.get_docstring(tree), f"{path} has no docstring"
    if listed is None:
        return
    assert len(listed) == len(set(listed))
    for name in listed:
        assert name in bound, f"{path}: {name} is listed in __all__ and not there"
        if isinstance(bound[name], ast.ClassDef | ast.FunctionDef):
            assert ast.get_docstring(bound[name]), f"{path}: {name} has no docstring"


def test_front_door():
    """`rebel_pref.__all__` is importable, names resolve, and the contract's names are among them."""
    import rebel_pref

    for name in rebel_pref.__all__:
        assert getattr(rebel_pref, name) is not None
    contract = {"PreferenceGame", "load_game", "solve", "certify", "self_play", "games", "magnetic_rebel", "Solution"}
    assert contract <= set(rebel_pref.__all__)
