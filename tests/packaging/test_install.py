"""What is published installs in an empty environment and works there."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile

import pytest

KINDS = ["wheel", "sdist"]
WITHIN_SECONDS = 300
COMMANDS = {
    "holdfast": ["holdfast", "--help"],
    "python -m holdfast": ["python", "-m", "holdfast", "--help"],
    "import holdfast": ["python", "-c", "import holdfast"],
}


@pytest.fixture(scope="session")
def archives(root, tmp_path_factory, clean_environment):
    """Build the source archive, and the wheel from what is in it."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--outdir", folder, root], folder, clean_environment)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.fixture(scope="session")
def installed(archives, tmp_path_factory, clean_environment):
    """For each archive, the programs of an environment that holds nothing but Holdfast."""
    programs = {}
    for kind, archive in archives.items():
        folder = tmp_path_factory.mktemp(kind)
        programs[kind] = folder / "environment" / "bin"
        run([sys.executable, "-m", "venv", "environment"], folder, clean_environment)
        install = [programs[kind] / "python", "-m", "pip", "install", "--quiet", archive]
        run(install, folder, clean_environment)
    return programs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_an_installed_holdfast_answers(command, kind, installed, tmp_path, clean_environment):
    program, *arguments = command

    run([installed[kind] / program, *arguments], tmp_path, clean_environment)


@pytest.mark.parametrize("kind", KINDS)
def test_the_installed_version_is_that_of_the_source(
    kind, installed, root, tmp_path, clean_environment
):
    version_file = root / "src" / "holdfast" / "version.py"
    ask = "from importlib.metadata import version; print(version('holdfast'))"

    answer = run([installed[kind] / "python", "-c", ask], tmp_path, clean_environment).strip()

    assert f'__version__ = "{answer}"' in version_file.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ["*.py", "*.sql", "py.typed"])
def test_every_file_of_the_source_is_published(kind, pattern, root, archives):
    source = root / "src"
    expected = {str(path.relative_to(source)) for path in source.rglob(pattern)}

    assert expected
    assert set() == expected - published(archives[kind])


def published(archive):
    """The files of an archive, named as from src."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return set(wheel.namelist())
    with tarfile.open(archive) as sdist:
        return {name.partition("/src/")[2] for name in sdist.getnames()}


def run(command, folder, environment):
    """Run a command, and fail with all it said if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
