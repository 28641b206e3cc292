"""What developers and machines are told: the guide, the problems, the dictionary, the schemas, the catalogs."""

import contextlib
import io
import json
import re
from typing import Any

import httpx
import jsonschema_rs
import pytest

from app.kit.errors import PROBLEMS
from app.kit.settings import ROOT
from app.pages.dictionary import MEANINGS
from app.pages.guide import NOUNS, fields_of
from tests.conftest import FUJIMI, Backend, Service, started
from tests.test_docs import SHOWN_AT, blocks, curl, text_of
from tests.test_pages import ENGLISH, page, towns

__all__ = ["towns"]

ANY = {"If-Match": "*"}
GUIDE, HANDBOOK = ROOT / "docs" / "guide.md", ROOT / "docs" / "guide.ja.md"


# ---------------------------------------------------------------------------------------------------------
# The guide


def test_both_guides_have_the_same_examples():
    assert blocks(text_of(GUIDE)) == blocks(text_of(HANDBOOK))
    assert len(re.findall("^## ", text_of(GUIDE), re.M)) == len(re.findall("^## ", text_of(HANDBOOK), re.M))


def test_a_sentence_goes_on_in_the_next_line_without_a_space(read: httpx.Client):
    for path in ("/guide", "/docs/problems/invalid"):
        prose = re.sub("(?s)<pre.*?</pre>", "", read.get(f"{path}?lang=ja").text)
        assert not re.search("[ぁ-ん一-龠、。]\n[ぁ-んァ-ヶ一-龠]", prose), path


def test_each_command_of_the_guide_is_answered(town: Service):
    known = {"KEY": town.key("editor", FUJIMI)}
    commands = [block for language, block in blocks(text_of(GUIDE)) if block.startswith("curl ")]
    assert len(commands) == 8
    for command in commands:
        assert curl(command.replace("\\\n", ""), town, known).is_success, command


def test_the_python_of_the_guide_prints_what_is_shown(town: Service, monkeypatch: pytest.MonkeyPatch):
    """Its blocks are one program."""
    monkeypatch.setenv("KEY", town.key("editor", FUJIMI))
    monkeypatch.chdir(ROOT)
    told = blocks(text_of(GUIDE))
    program = "".join(block for language, block in told if language == "python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program.replace(SHOWN_AT, str(town.anyone.base_url)), names := {})  # noqa: S102
    names["api"].close()
    assert printed.getvalue() == "".join(block for language, block in told if language == "text")


def test_the_copy_of_the_guide_is_right_whatever_changes_while_it_is_made(
    town: Service, monkeypatch: pytest.MonkeyPatch
):
    """Its Python is asked for one change at a time, and has a row that goes after it was copied."""
    by_block = [block for language, block in blocks(text_of(GUIDE)) if language == "python"]
    program = by_block[0] + next(block for block in by_block if "snapshot" in block)
    usual, pages = httpx.Client.get, []

    def get(client: httpx.Client, url: str, params: dict[str, Any]) -> httpx.Response:
        if not pages:
            _, gone, changed = usual(client, "/evaluations").json()["results"][:3]
            body = {"implementation": "書き直した"}
            with town.holder(town.key()) as admin:
                assert admin.delete(f"/evaluations/{gone['id']}", headers=ANY).is_success
                assert admin.patch(f"/evaluations/{changed['id']}", json=body, headers=ANY).is_success
        pages.append(usual(client, url, params={**params, "limit": 1}))
        return pages[-1]

    with monkeypatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(httpx.Client, "get", get)
        exec(program.replace(SHOWN_AT, str(town.anyone.base_url)), names := {})  # noqa: S102
    names["api"].close()
    assert len(pages) == 2
    _, *rows = map(json.loads, town.anyone.get("/snapshot.jsonl").text.splitlines())
    assert names["copy"] == {(row["entity"], row["key"]): row["data"] for row in rows}


def test_the_guide_is_a_page(read: httpx.Client):
    japanese, english = page(read, "/guide"), page(read, "/guide?lang=en")
    assert "開発者のための手引き" in japanese.text
    assert "A guide for developers" in english.text
    assert '<pre tabindex="0" class="python"><code>import httpx' in english.answer.text
    again = read.get("/guide", headers={"If-None-Match": japanese.answer.headers["etag"]})
    assert again.status_code == 304
    assert read.get("/guide", headers=ENGLISH | {"If-None-Match": japanese.answer.headers["etag"]}).is_success


def test_the_example_can_be_copied_with_the_address_of_the_service(read: httpx.Client):
    answer = read.get("/examples/plan.html")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert f'data-api="{str(read.base_url).rstrip("/")}"' in answer.text


# ---------------------------------------------------------------------------------------------------------
# Problems


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.slug)
def test_the_type_of_a_problem_leads_to_its_page(problem: Any, read: httpx.Client):
    japanese = page(read, f"/docs/problems/{problem.slug}")
    english = page(read, f"/docs/problems/{problem.slug}?lang=en")
    assert problem.title.ja in japanese.text
    assert problem.title.en in english.text
    assert "どうする" in japanese.text
    assert "What to do" not in japanese.text
    assert "What to do" in english.text
    assert "どうする" not in english.text
    assert f"/docs/problems/{problem.slug}" in page(read, "/docs/problems").links


def test_a_problem_that_does_not_exist_has_no_page(read: httpx.Client):
    assert page(read, "/docs/problems/nope", 404).text.count("このアドレスには何もありません") == 1


# ---------------------------------------------------------------------------------------------------------
# Fields and schemas


@pytest.mark.parametrize("noun", NOUNS)
def test_every_field_has_its_meaning_in_both_languages(noun: str, read: httpx.Client):
    fields = fields_of(noun, english=True)
    for field in fields:
        assert all((field.name, field.term, field.kind, field.english, field.japanese)), field
        assert not re.search("[ぁ-んァ-ヶ]", field.english), field
    answered = read.get(f"/{noun}s?limit=1").json()["results"][0]
    assert [field.name for field in fields] == list(answered)


def test_no_meaning_is_of_a_field_that_is_gone():
    fields = {(noun, field.name) for noun in NOUNS for field in fields_of(noun, english=False)}
    assert MEANINGS.keys() <= {name for noun, field in fields for name in (field, f"{noun}.{field}")}


def test_the_dictionary_is_a_page(read: httpx.Client):
    rows = [row for table in page(read, "/dictionary").tables for row in table]
    assert ["implementation", "実施内容", "文字列 ・空", "その年度に行ったこと"] in rows
    rows = [row for table in page(read, "/dictionary?lang=en").tables for row in table]
    assert ["implementation", "実施内容", "text or null", "What was done in the year"] in rows


@pytest.mark.parametrize("noun", NOUNS)
def test_every_row_fits_the_schema_of_its_noun(noun: str, towns: httpx.Client):
    answer = towns.get(f"/schemas/{noun}.json")
    assert answer.headers["content-type"] == "application/schema+json"
    schema = answer.json()
    assert schema["$id"] == f"/schemas/{noun}.json"
    validator = jsonschema_rs.validator_for(schema | {"$id": f"https://example.jp/schemas/{noun}.json"})
    rows = towns.get(f"/{noun}s?limit=1000").json()["results"]
    assert rows
    for row in rows:
        validator.validate(row)
        assert not validator.is_valid(row | {"colour": "red"}) or noun == "change"
    assert towns.get("/schemas/nope.json").status_code == 404


# ---------------------------------------------------------------------------------------------------------
# Catalogs


def test_the_catalog_has_each_plan_as_a_dataset(towns: httpx.Client):
    answer = towns.get("/catalog.jsonld")
    assert answer.headers["content-type"] == "application/ld+json"
    catalog = answer.json()
    base = str(towns.base_url).rstrip("/")
    datasets = {dataset["dct:identifier"]: dataset for dataset in catalog["dcat:dataset"]}
    assert datasets.keys() == {plan["slug"] for plan in towns.get("/plans").json()["results"]}
    seed, strategy = datasets["fujimi-yumetsunagu"], datasets["mihon-senryaku"]
    assert seed["dct:publisher"]["foaf:name"] == "富士見市"
    assert seed["dct:publisher"]["dct:identifier"] == "112356"
    assert seed["schema:temporalCoverage"] == "2017-04-01/2018-03-31"
    assert not seed.keys() & {"dct:license", "schema:license", "dct:source"}  # the documents name none
    for licensed in (strategy, *strategy["dcat:distribution"]):
        assert (
            licensed["dct:license"]["rdfs:label"] == licensed["schema:license"]["schema:name"] == "CC BY 4.0"
        )
    assert strategy["dct:source"] == {"@id": "https://example.jp/senryaku"}
    assert datasets["mihon-kodomo"]["schema:temporalCoverage"] == "2019-04-01/2024-03-31"
    tables = towns.get("/plans.csv").is_success
    for dataset in datasets.values():
        assert [form["dct:title"] for form in dataset["dcat:distribution"]] == [
            "JSON",
            "CSV",
            "TSV",
            "XLSX",
            "JSON Lines",
        ]
        for form in dataset["dcat:distribution"]:
            address = form["dcat:accessURL"]["@id"]
            assert address.startswith(base)
            if tables or form["dct:title"] == "JSON":
                got = towns.get(address)
                assert got.is_success
                assert got.headers["content-type"].partition(";")[0] == form["schema:encodingFormat"]
                whole = (
                    got.headers["content-type"].partition(";")[0] != "application/json"
                )  # not a page of it
                assert form.get("dcat:downloadURL") == (form["dcat:accessURL"] if whole else None)
    again = towns.get("/catalog.jsonld", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_the_catalog_names_things_as_portals_look_them_up(towns: httpx.Client):
    """Languages and media types are addresses, titles say their language, a catalog describes itself."""
    catalog = towns.get("/catalog.jsonld").json()
    for told in (catalog, *catalog["dcat:dataset"]):
        assert told["dct:language"] == {"@id": "http://id.loc.gov/vocabulary/iso639-1/ja"}
        assert told["dct:title"]["@language"] == told["dct:description"]["@language"] == "ja"
    for dataset in catalog["dcat:dataset"]:
        types = [form.get("dcat:mediaType", {}).get("@id", "") for form in dataset["dcat:distribution"]]
        assert types[1] == "https://www.iana.org/assignments/media-types/text/csv"
        assert types[4] == ""  # JSON Lines is not registered
    assert catalog["schema:dataset"] == [{"@id": dataset["@id"]} for dataset in catalog["dcat:dataset"]]


def test_who_runs_the_service_is_told_where_that_is_set(sqlite: Backend, read: httpx.Client):
    """By the catalog and below each page, whose tag is another one then; nobody is invented."""
    unnamed = read.get("/catalog.jsonld").json()
    assert not unnamed.keys() & {"dct:publisher", "schema:publisher"}
    assert "運営" not in read.get("/").text
    with started(sqlite.seeded(), publisher="近隣市町 <共同> 事務局") as service:
        catalog = service.anyone.get("/catalog.jsonld").json()
        publisher = {
            "@type": ["foaf:Agent", "foaf:Organization", "schema:Organization"],
            "foaf:name": "近隣市町 <共同> 事務局",
            "schema:name": "近隣市町 <共同> 事務局",
        }
        assert catalog["dct:publisher"] == catalog["schema:publisher"] == publisher
        assert catalog["dcat:dataset"][0]["dct:publisher"]["foaf:name"] == "富士見市"
        for path in ("/", "/guide", "/p/fujimi-yumetsunagu"):
            shown, other = service.anyone.get(path), read.get(path)
            english = service.anyone.get(path, headers=ENGLISH).text
            assert 'Run by: <span lang="ja">近隣市町 &lt;共同&gt; 事務局</span>' in english
            assert shown.headers["etag"] != other.headers["etag"]


def test_a_licence_that_is_an_address_is_linked(town: Service, admin: httpx.Client):
    address = "https://creativecommons.org/licenses/by/4.0/"
    assert admin.patch("/plans/1", json={"licence": address}, headers={"If-Match": "*"}).is_success
    [dataset] = town.anyone.get("/catalog.jsonld").json()["dcat:dataset"]
    assert dataset["dct:license"] == dataset["schema:license"] == {"@id": address}


def test_the_api_can_be_found_from_its_well_known_address(read: httpx.Client):
    answer = read.get("/.well-known/api-catalog")
    assert answer.headers["content-type"] == (
        'application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"'
    )
    asked = read.head("/.well-known/api-catalog")
    assert asked.headers["link"] == '</.well-known/api-catalog>; rel="api-catalog"'
    [entry] = answer.json()["linkset"]
    assert entry["anchor"] == f"{str(read.base_url).rstrip('/')}/"
    for relation in ("service-desc", "service-doc", "service-meta", "status"):
        for link in entry[relation]:
            got = read.get(link["href"])
            assert got.is_success
            assert got.headers["content-type"].partition(";")[0] == link["type"]
