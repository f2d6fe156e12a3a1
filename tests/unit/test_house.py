# SPDX-License-Identifier: Apache-2.0
"""What holds for the project as a whole: its four packages, its wheel, its start-up, its files."""

import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder
from house.runtime_closure import runtime_closure

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "medagent": ROOT / "medagent",
    "medagent_fhir": ROOT / "fhir" / "medagent_fhir",
    "medagent_tools": ROOT / "tools" / "medagent_tools",
    "medagent_workflows": ROOT / "workflows" / "medagent_workflows",
}
SLOW_TO_IMPORT = (
    "langgraph",
    "sqlalchemy",
    "psycopg",
    "aiosqlite",
    "fastapi",
    "fhir",
    "httpx",
    "jinja2",
    "joserfc",
    "uvicorn",
)


@pytest.fixture(scope="session")
def tracked_files() -> tuple[Path, ...]:
    """What git holds; a checkout without git has no answer."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - git is wherever the developer installed it
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("needs a git checkout")
    named = (ROOT / name.decode() for name in listing.stdout.split(b"\0") if name)
    return tuple(path for path in named if path.is_file())


@pytest.fixture(scope="session")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """The file names in a wheel built from this checkout."""
    folder = str(tmp_path_factory.mktemp("wheel"))
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=folder, versions=["standard"])
    with ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


def test_the_fhir_folder_does_not_shadow_the_installed_fhir_package() -> None:
    spec = find_spec("fhir")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(sysconfig.get_paths()["purelib"])


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_imported_from_this_checkout(package: str) -> None:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin == str(PACKAGES[package] / "__init__.py")


@pytest.mark.parametrize("folder", ["fhir", "tools", "workflows", "tests"])
def test_a_folder_that_is_no_package_has_no_init(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_the_wheel_installs_exactly_the_four_packages(wheel_names: frozenset[str]) -> None:
    top = {name.split("/")[0] for name in wheel_names}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_carries_every_tracked_file_of_the_packages(
    wheel_names: frozenset[str], tracked_files: tuple[Path, ...]
) -> None:
    """Rules, samples, migrations and type markers are found by name at run time: none may stay behind."""
    expected = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in tracked_files
        if path.is_relative_to(folder)
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= expected
    assert expected <= wheel_names


def test_the_wheel_carries_the_licence(wheel_names: frozenset[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel_names)


def test_the_installed_version_is_the_one_in_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert version("medagent") == project["version"]


def test_the_changelog_names_the_version() -> None:
    assert f"[{version('medagent')}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_help_starts_without_the_packages_that_are_slow_to_import() -> None:
    program = f"""
import sys
from medagent_workflows.command_line import main
try:
    main(["--help"])
except SystemExit as stop:
    assert not stop.code, stop.code
print("loaded:", *(name for name in {SLOW_TO_IMPORT} if name in sys.modules))
"""
    run = subprocess.run(  # noqa: S603 - our interpreter, our text
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "recommend" in run.stdout
    assert run.stdout.splitlines()[-1].strip() == "loaded:"


def test_every_python_file_states_its_licence_and_its_purpose(tracked_files: tuple[Path, ...]) -> None:
    opening = re.compile(r'# SPDX-License-Identifier: Apache-2\.0\n"""\w')
    sources = [path for path in tracked_files if path.suffix == ".py"]
    silent = [path for path in sources if not opening.match(path.read_text(encoding="utf-8"))]
    assert sources
    assert silent == []


NEVER_IN_A_FILE = {
    "a package registry": r"(?:^|[/@.])(?:py"
    r"pi|python"
    r"hosted|npm"
    r"js|yarn"
    r"pkg|ana"
    r"conda)\.(?:org|com)\b"
    r"|--(?:extra-)?index-url",
    "a path of one machine": r"(?<![\w./~-])/(?:home|root|work|opt|tmp|Users)/\w",
}


@pytest.mark.parametrize("pattern", NEVER_IN_A_FILE.values(), ids=NEVER_IN_A_FILE.keys())
def test_no_tracked_file_names(pattern: str, tracked_files: tuple[Path, ...]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked_files
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert found == []


def test_the_constraints_pin_everything_that_comes_along() -> None:
    """Otherwise two installations of one commit differ."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    assert runtime_closure("medagent") <= pinned


def test_the_licence_check_reads_what_others_require_and_not_what_tests_require() -> None:
    closure = runtime_closure("medagent")
    assert "markdown-it-py" in closure  # required by rich, not by us
    assert "pymerkle" not in closure  # GPL: the log's tests compare with it


def test_the_base_install_brings_no_model_runtime() -> None:
    assert runtime_closure("medagent").isdisjoint({"torch", "vllm", "transformers", "numpy"})
