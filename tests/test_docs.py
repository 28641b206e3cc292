"""The documents are true: their commands run, their answers are the real ones, their lists leave nothing out."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import httpx
import pytest

from app import cli, fiscal_years
from app.kit.errors import PROBLEMS
from app.kit.settings import ROOT, Settings
from tests.conftest import FUJIMI, SEED, Service

README, TOWN, PROBLEM_PAGE = ROOT / "README.md", ROOT / "README.ja.md", ROOT / "docs" / "problems.md"
DECISIONS = ROOT / "docs" / "decisions"
SHOWN_AT = "http://127.0.0.1:8000"


def text_of(file: Path) -> str:
    return file.read_text("utf-8")


def part(file: Path, heading: str) -> str:
    """What stands under a heading of the second level."""
    return text_of(file).split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks: the language of each, and what stands in it."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)


def commands(*files: Path) -> list[str]:
    """Every line of the shell blocks, continued ones put together."""
    shell = (block for file in files for language, block in blocks(text_of(file)) if language == "sh")
    return [line for block in shell for line in block.replace("\\\n", "").splitlines()]


def table(text: str) -> list[list[str]]:
    """The rows of a Markdown table, without its heading."""
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def tracked() -> list[Path]:
    """The files of the project, new ones too; where no git can tell, all but what .gitignore names."""
    ask = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    told = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode == 0:
        return [ROOT / name for name in told.stdout.split("\0") if name and (ROOT / name).is_file()]
    ignored = {line.strip("/") for line in text_of(ROOT / ".gitignore").splitlines() if line} | {".git"}
    return [
        file
        for file in ROOT.rglob("*")
        if file.is_file() and not any(file.match(f"**/{name}") or name in file.parts for name in ignored)
    ]


# ---------------------------------------------------------------------------------------------------------
# Commands and answers

CURL = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
CURL.add_argument("url")
CURL.add_argument("-X", dest="method")
CURL.add_argument("-H", dest="headers", action="append", default=[])
CURL.add_argument("-d", dest="data", action="append", default=[])
CURL.add_argument("--data-urlencode", dest="encoded", action="append", default=[])
CURL.add_argument("--data-binary", dest="file")
for flag in ("-s", "-I", "-G"):
    CURL.add_argument(flag, action="store_true")


def curl(command: str, service: Service, known: dict[str, str]) -> httpx.Response:
    """What curl would do, as far as the documents use it; a shell leaves $NAME in single quotes alone."""
    words = shlex.split(re.sub("'[^']*'", lambda quoted: quoted[0].replace("$", "$$"), command))
    asked = CURL.parse_args([Template(word).substitute(known) for word in words[1:]])
    assert asked.url.isascii(), "curl sends an address as it stands"
    assert asked.url.startswith(SHOWN_AT)
    url = asked.url.removeprefix(SHOWN_AT)
    headers = dict(header.split(": ", 1) for header in asked.headers)
    body = None
    if asked.G:
        pairs = [field.split("=", 1) for field in (*asked.encoded, *asked.data)]
        url += f"?{httpx.QueryParams([(name, value) for name, value in pairs])}"
    elif asked.data or asked.file:
        body = (ROOT / asked.file.removeprefix("@")).read_bytes() if asked.file else "&".join(asked.data)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | headers
    method = asked.method or ("HEAD" if asked.I else "POST" if body else "GET")
    return service.anyone.request(method, url, headers=headers, content=body)


def as_shown(real: Any, shown: Any) -> Any:
    """The real answer, told as the document tells it. There, "…" stands for one value, at the end of a list
    for one or more further items, and as the last member of an object for one or more further members."""
    if shown == "…":
        return "…"
    if isinstance(shown, dict) and isinstance(real, dict):
        told = {
            name: as_shown(value, shown.get(name))
            for name, value in real.items()
            if name in shown or "…" not in shown
        }
        return told | ({"…": "…"} if len(real) > len(told) else {})
    if isinstance(shown, list) and isinstance(real, list):
        if shown[-1:] == ["…"] and len(real) >= len(shown):
            real = [*real[: len(shown) - 1], "…"]
        return [
            as_shown(value, shown[place] if place < len(shown) else None) for place, value in enumerate(real)
        ]
    return real


@pytest.mark.parametrize("document", [README, PROBLEM_PAGE], ids=lambda file: file.stem)
def test_each_curl_command_gives_the_answer_that_is_shown_below_it(document: Path, town: Service) -> None:
    """$KEY is an editor's key, $NEXT the cursor that the last list gave; ETAG=$(curl -sI …) takes the header."""
    known = {"KEY": town.key("editor", FUJIMI)}
    told = blocks(text_of(document))
    compared = 0
    for (language, command), (next_language, shown) in zip(told, [*told[1:], ("", "")], strict=True):
        if taken := re.match(r"([A-Z]+)=\$\((curl -sI [^|]+)", command):
            known[taken[1]] = curl(taken[2], town, known).headers[taken[1]]
        if language != "sh" or not command.startswith("curl "):
            continue
        answer = curl(command.replace("\\\n", ""), town, known)
        expected = json.loads(shown) if next_language == "json" else {}
        if next_language == "json":
            compared += 1
            assert as_shown(answer.json(), expected) == expected, command
        assert answer.status_code == expected.get("status", answer.status_code), command
        assert answer.is_success or "status" in expected, command
        if "application/json" in answer.headers.get("content-type", ""):
            resultset = answer.json().get("metadata", {}).get("resultset", {})
            known |= {"NEXT": resultset["next"]} if resultset.get("next") else {}
    assert compared >= 10


@pytest.mark.parametrize(
    ("shown", "differs"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "…": "…"}, {"a": 1}),
        ({"a": 1, "b": "…"}, {"a": 1}),
        ([1, 2], [1]),
        ([1], [1, 2]),
        ([1, "…"], [1]),
        ([1, "…"], [2, 3]),
        ([{"a": 1, "…": "…"}], [{"a": 2, "b": 3}]),
    ],
)
def test_an_answer_that_differs_from_the_one_shown_is_noticed(shown: Any, differs: Any) -> None:
    assert as_shown(differs, shown) != shown


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ({"a": "…"}, {"a": [1, 2]}),
        ({"a": 1, "…": "…"}, {"b": 2, "a": 1, "c": 3}),
        ([1, "…"], [1, 2]),
        ([1, "…"], [1, 2, 3]),
        ({"a": [{"b": 1, "…": "…"}, "…"]}, {"a": [{"b": 1, "c": 2}, {"b": 3}]}),
    ],
)
def test_what_a_document_leaves_out_may_be_anything(shown: Any, real: Any) -> None:
    assert as_shown(real, shown) == shown


def test_the_import_that_is_told_to_the_town_gives_the_result_that_is_shown_below_it(
    town: Service, tmp_path: Path
) -> None:
    """Next year's table: the headers and the subtitle that README.ja.md speaks of, and the rows of this year's."""
    table = (
        SEED.read_text("utf-8").replace("H30計画内容", "H31計画内容").replace("H29実施内容", "H30実施内容")
    )
    [command] = [line for line in commands(TOWN) if " import " in line]
    _, *arguments = command.split()
    (tmp_path / arguments[1]).write_text(table.replace("(平成29年度", "(平成30年度"), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SHINCHOKU_DATABASE_URL": town.url},
        capture_output=True,
        text=True,
        check=False,
    )
    [shown] = [block for language, block in blocks(text_of(TOWN)) if language == "text"]
    assert (done.returncode, done.stdout, done.stderr) == (0, shown, "")


@pytest.mark.parametrize("document", [README, TOWN], ids=lambda file: file.stem)
def test_each_command_of_the_service_is_one_that_it_has(document: Path) -> None:
    mentioned = [*commands(document), *re.findall("`(shinchoku [a-z][^`]*)`", text_of(document))]
    own = [
        found[1].strip(")")
        for line in mentioned
        if (found := re.search(r"(?:^|bin/|exec shinchoku )shinchoku (.*)", line))
    ]
    assert own
    for command in own:
        cli._parser().parse_args(shlex.split(command))


def test_the_readme_has_every_command() -> None:
    def names(parser: argparse.ArgumentParser) -> Iterator[str]:
        below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        for choice in (choice for action in below for choice in action.choices.values()):
            yield from names(choice)
        if not below:
            yield parser.prog

    rows = table(part(README, "The command line"))
    assert sorted(names(cli._parser())) == sorted(
        re.split(" (?:[-A-Z]|evaluations )", row[0].strip("`"), maxsplit=1)[0] for row in rows
    )


def test_the_commands_of_make_exist() -> None:
    targets = set(re.findall("^([a-z]+):", text_of(ROOT / "Makefile"), re.M))
    named = {
        found[1]
        for file in (README, TOWN, ROOT / "CONTRIBUTING.md")
        for line in commands(file)
        if (found := re.search("(?:^| )make ([a-z]+)", line))
    }
    assert {"run", "test"} <= named <= targets


# ---------------------------------------------------------------------------------------------------------
# Lists


def test_the_readme_has_every_address_and_its_methods(read: httpx.Client) -> None:
    told = {
        (path, method)
        for paths, methods, _ in table(part(README, "The API at a glance"))
        for path in re.findall("`([^`]+)`", paths)
        for method in methods.split()
    }
    paths = read.get("/openapi.json").json()["paths"]
    assert told == {(path, method.upper()) for path, operations in paths.items() for method in operations}


def test_the_readme_has_every_setting_with_its_default_and_meaning() -> None:
    def shown(default: Any) -> str:
        if isinstance(default, Path):
            return default.relative_to(ROOT).as_posix()
        return json.dumps(default) if isinstance(default, list) else str(default)

    rows = [
        [f"`SHINCHOKU_{name.upper()}`", f"`{shown(field.default)}`", field.description]
        for name, field in Settings.model_fields.items()
    ]
    port = re.findall(r"^PORT +\?= (\d+)$", text_of(ROOT / "Makefile"), re.M)
    *told, last = table(part(README, "Settings"))
    assert told == rows
    assert last[:2] == ["`PORT`", f"`{port[0]}`"]


def test_each_spelling_of_a_fiscal_year_means_what_the_readme_says() -> None:
    rows = table(part(README, "Fiscal years"))
    assert [row[0] for row in rows] == ["2017", "2019", "2020"]
    for year, spellings in rows:
        found = re.findall("`([^`]+)`", spellings)
        assert {text: fiscal_years.parse(text) for text in found} == dict.fromkeys(found, int(year))


def test_the_tree_in_the_readme_is_the_tree_of_the_code() -> None:
    [tree] = [block for _, block in blocks(part(README, "Find your way in the code"))]
    told, folders = set(), [""]
    for line in tree.splitlines()[1:]:
        found = re.match(r"([│ ]*)[├└]── (\S+)  ", f"{line}  ")
        assert found, line
        depth = len(found[1]) // 4
        path = "".join((*folders[: depth + 1], found[2]))
        told.add(path)
        if path.endswith("/"):
            folders[depth + 1 :] = [found[2]]
    modules = [file.relative_to(ROOT / "app") for file in (ROOT / "app").rglob("*.py")]
    files = {file.as_posix() for file in modules if file.name != "__init__.py"}
    packages = {f"{file.parent.as_posix()}/" for file in modules if file.parent != Path()}
    assert told == files | packages


def test_the_page_of_problems_has_each_problem_in_both_languages() -> None:
    named = re.findall(r"^## (.+)$", text_of(PROBLEM_PAGE), re.M)
    assert named == [problem.slug for problem in PROBLEMS]
    listed = table(text_of(PROBLEM_PAGE).split("\n## ", 1)[0])
    assert listed == [
        [
            f"[`/docs/problems/{problem.slug}`](#{problem.slug})",
            str(problem.status),
            f"{problem.title.ja} / {problem.title.en}",
        ]
        for problem in PROBLEMS
    ]
    for problem in PROBLEMS:
        section = part(PROBLEM_PAGE, problem.slug)
        for word in ("いつ", "どうする", "When", "What to do"):
            assert section.count(f"* **{word}** ") == 1, (problem.slug, word)
        [example] = [json.loads(block) for language, block in blocks(section) if language == "json"]
        assert [example[name] for name in ("type", "title", "status")] == [
            f"/docs/problems/{problem.slug}",
            problem.title.ja,
            problem.status,
        ]


def test_the_newest_version_in_the_changelog_is_that_of_the_project() -> None:
    newest = re.findall(r"^## \[(.+?)\] - \d{4}-\d\d-\d\d$", text_of(ROOT / "CHANGELOG.md"), re.M)[0]
    assert newest == tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["version"]


def test_the_index_of_decisions_has_each_of_them_under_its_title() -> None:
    index = re.findall(r"^\* \[(.+)\]\((.+)\): .+\.$", text_of(DECISIONS / "README.md"), re.M)
    files = sorted(file for file in DECISIONS.iterdir() if file.name != "README.md")
    assert index == [(text_of(file).splitlines()[0].removeprefix("# "), file.name) for file in files]


# ---------------------------------------------------------------------------------------------------------
# All files


def anchors(text: str) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall("^#+ (.+)$", re.sub("```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_link_within_the_project_leads_somewhere() -> None:
    pages = [file for file in tracked() if file.suffix == ".md"]
    assert {README, TOWN, PROBLEM_PAGE} <= set(pages)
    for page in pages:
        prose = re.sub("```.*?```", "", text_of(page), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if re.match("[a-z]+:|/", target):  # elsewhere, or an address of the service
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.is_relative_to(ROOT), (page.name, target)
            assert file.exists(), (page.name, target)
            assert not anchor or anchor in anchors(text_of(file)), (page.name, target)


PRIVATE = {
    "the host of a package registry": r"pypi\.(?:org|io)\b|pythonhosted\.org|npmjs\.(?:com|org)\b"
    r"|crates\.io\b|rubygems\.org|(?:proxy|sum)\.golang\.org|\b(?:registry|artifactory|nexus|mirrors?)\.[a-z]+\.[a-z]+",
    "a folder of one machine": r"(?<![\w.<])/(?:root|work|home|Users)/\w",
}


@pytest.mark.parametrize("what", PRIVATE)
def test_no_file_carries(what: str) -> None:
    files = tracked()
    assert len(files) > 20
    found = {
        str(file.relative_to(ROOT)): match[0]
        for file in files
        if (match := re.search(PRIVATE[what], file.read_text("utf-8", errors="replace")))
    }
    assert found == {}


def test_the_locks_name_versions_and_no_addresses() -> None:
    locks = [*ROOT.glob("*.lock"), *ROOT.glob("bench/*.lock")]
    assert len(locks) == 3
    for lock in locks:
        assert "://" not in text_of(lock)
        assert not re.search("^ *--(?!hash)", text_of(lock), re.M)
