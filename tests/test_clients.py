"""Clients are made of docs/openapi.json by tools that others use, without a warning, and compile strictly."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.kit.settings import ROOT
from tests.conftest import FUJIMI, Backend, Service, lent
from tests.test_docs import SHOWN_AT, blocks, text_of

HERE = ROOT / "tests" / "clients"
OPENAPI = ROOT / "docs" / "openapi.json"

STRICT = """{"compilerOptions": {
  "strict": true, "noUncheckedIndexedAccess": true, "exactOptionalPropertyTypes": true, "noImplicitReturns": true,
  "module": "nodenext", "target": "es2022", "types": ["node"], "outDir": "out"
}}"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints; it must end well."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [line for line in (done.stdout + done.stderr).splitlines() if "warn" in line.lower()]
    return done.stdout


@pytest.fixture(scope="module")
def service(sqlite: Backend) -> Iterator[Service]:
    """What a client is made of does not depend on the database."""
    with lent(sqlite) as service:
        yield service


def test_types_for_typescript_are_made_and_compile_strictly(service: Service, tmp_path: Path):
    """With them a small client and the programs of the guide."""
    if shutil.which("npm") is None:
        assert not os.environ.get("CI"), "no npm on this machine"
        pytest.skip("no npm on this machine: the TypeScript client is left out")
    for file in ("package.json", "package-lock.json", ".npmrc", "client.ts"):
        shutil.copy(HERE / file, tmp_path)
    run("npm", "ci", "--ignore-scripts", "--loglevel=error", cwd=tmp_path)
    run("npx", "openapi-typescript", OPENAPI, "-o", "schema.ts", cwd=tmp_path)
    (tmp_path / "tsconfig.json").write_text(STRICT, "utf-8")
    told = blocks(text_of(ROOT / "docs" / "guide.md"))
    guide = "".join(block for language, block in told if language == "typescript")
    base = str(service.anyone.base_url).rstrip("/")
    (tmp_path / "guide.ts").write_text(guide.replace(SHOWN_AT, base) + "export {};\n", "utf-8")
    run("npx", "tsc", "--project", ".", cwd=tmp_path)
    key = service.key("editor", FUJIMI)
    assert run("node", tmp_path / "out" / "guide.js", cwd=ROOT, KEY=key) == "".join(
        block for language, block in told if language == "text"
    )
    assert run("node", "out/client.js", base, cwd=tmp_path).splitlines() == [
        "9 fujimi-yumetsunagu/1-2-4/2017/1 B",
        "平成29年度 3",
        "422 /docs/problems/invalid colour",
    ]


def test_a_client_for_python_is_made_and_passes_strict_types(service: Service, tmp_path: Path):
    config = HERE / "openapi-python-client.yaml"
    made = ("--path", OPENAPI, "--config", config, "--output-path", "made", "--fail-on-warning")
    run("openapi-python-client", "generate", *made, cwd=tmp_path)
    client = shutil.copy(HERE / "client.py", tmp_path / "made")
    run("mypy", "--strict", "shinchoku_client", client, cwd=tmp_path / "made")
    key = service.key("editor", FUJIMI)
    printed = run(
        sys.executable, client, str(service.anyone.base_url), key, cwd=tmp_path / "made", PYTHONPATH="."
    )
    assert printed.splitlines() == [
        "9 fujimi-yumetsunagu/1-2-4/2017/1",
        "['第1節', '第2節', '第3節', '第4節'] 26",
        "fujimi-yumetsunagu/3-2-1/2018/1 B 2",
        "412 /docs/problems/precondition-failed",
    ]
