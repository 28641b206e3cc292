"""What there is, told to machines: /catalog.jsonld for data portals, /.well-known/api-catalog for API readers."""

from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response

from app.kit.database import Reading
from app.kit.http import answer
from app.models import EVALUATION, MEASURE, PLAN
from app.pages.html import data_behind, settings_of

router = APIRouter(include_in_schema=False)

# The forms that the rows of a plan can be had in: suffix, media type, name.
FORMS = (
    ("", "application/json", "JSON"),
    (".csv", "text/csv", "CSV"),
    (".tsv", "text/tab-separated-values", "TSV"),
    (".xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "XLSX"),
    (".jsonl", "application/jsonl", "JSON Lines"),
)

# Named as DCAT 3 asks: languages by the Library of Congress, media types by IANA (which knows no JSON Lines).
JAPANESE = {"@id": "http://id.loc.gov/vocabulary/iso639-1/ja"}
MEDIA_TYPES = "https://www.iana.org/assignments/media-types/"

CONTEXT = {
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "schema": "https://schema.org/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}


@router.get("/catalog.jsonld")
def catalog(request: Request, session: Reading) -> Response:
    """データカタログ: each plan as a dataset, in the words of DCAT 3 and schema.org, with absolute addresses."""
    base = str(request.base_url).rstrip("/")
    years = (
        sa.select(
            MEASURE.c.plan_id,
            sa.func.min(EVALUATION.c.fiscal_year).label("first"),
            sa.func.max(EVALUATION.c.fiscal_year).label("last"),
            sa.func.max(EVALUATION.c.updated_at).label("rated_at"),
        )
        .join(EVALUATION)
        .group_by(MEASURE.c.plan_id)
        .subquery()
    )
    plans = sa.select(PLAN, years.c.first, years.c.last, years.c.rated_at).outerjoin(
        years, years.c.plan_id == PLAN.c.id
    )
    datasets = [_dataset(base, row) for row in session.execute(plans.order_by(PLAN.c.slug)).mappings()]
    service = {
        "@id": f"{base}/#api",
        "@type": "dcat:DataService",
        "dct:title": "Shinchoku 進捗 API",
        "dcat:endpointURL": {"@id": f"{base}/"},
        "dcat:endpointDescription": {"@id": f"{base}/openapi.json"},
        "dcat:landingPage": {"@id": f"{base}/docs"},
        "dcat:servesDataset": [{"@id": dataset["@id"]} for dataset in datasets],
    }
    body: dict[str, Any] = {
        "@context": CONTEXT,
        "@id": f"{base}/catalog.jsonld",
        "@type": ["dcat:Catalog", "schema:DataCatalog"],
        "dct:title": _japanese("自治体の計画の進捗"),
        "schema:name": "自治体の計画の進捗",
        "dct:description": _japanese(
            "自治体の計画の、施策ごとの年度の実施内容・評価・理由・次年度計画。公表された資料の文言のまま"
        ),
        "dct:language": JAPANESE,
        "foaf:homepage": {"@id": f"{base}/"},
        "dcat:service": service,
        "dcat:dataset": datasets,
        "schema:dataset": [{"@id": dataset["@id"]} for dataset in datasets],
    }
    if (name := settings_of(request).publisher) is not None:
        body["dct:publisher"] = body["schema:publisher"] = _organisation(name)
    return answer(request, body, headers={"Content-Type": "application/ld+json"})


def _japanese(text: str) -> dict[str, str]:
    return {"@value": text, "@language": "ja"}


def _organisation(name: str) -> dict[str, Any]:
    kinds = ["foaf:Agent", "foaf:Organization", "schema:Organization"]
    return {"@type": kinds, "foaf:name": name, "schema:name": name}


def _licence(told: str) -> dict[str, Any]:
    """As the source words it: an address, or a name."""
    if told.startswith(("https://", "http://")) and " " not in told:
        return {"dct:license": {"@id": told}, "schema:license": {"@id": told}}
    return {
        "dct:license": {"@type": "dct:LicenseDocument", "rdfs:label": told},
        "schema:license": {"@type": "schema:CreativeWork", "schema:name": told},
    }


def _form(base: str, plan: Any, suffix: str, media: str, name: str) -> dict[str, Any]:
    address = {"@id": base + data_behind("evaluations", suffix, plan=plan["slug"])}
    told: dict[str, Any] = {
        "@id": f"{base}/p/{plan['slug']}#{name.lower().replace(' ', '-')}",
        "@type": ["dcat:Distribution", "schema:DataDownload"],
        "dct:title": name,
        "dct:format": {"@type": "dct:MediaTypeOrExtent", "rdfs:label": name},
        "schema:encodingFormat": media,
        "dcat:accessURL": address,
        "schema:contentUrl": address,
        "dcat:accessService": {"@id": f"{base}/#api"},
    }
    if suffix:  # a file of all rows; the JSON comes page by page
        told["dcat:downloadURL"] = address
    if media != "application/jsonl":
        told["dcat:mediaType"] = {"@id": MEDIA_TYPES + media}
    if plan["licence"] is not None:
        told |= _licence(plan["licence"])
    return told


def _dataset(base: str, plan: Any) -> dict[str, Any]:
    page = f"{base}/p/{plan['slug']}"
    about = f"{plan['municipality']}「{plan['title']}」の施策ごとの、年度の実施内容・評価・理由・次年度計画"
    first, last = (
        plan[own] if plan[own] is not None else plan[seen]
        for own, seen in (("first_fiscal_year", "first"), ("last_fiscal_year", "last"))
    )
    publisher = _organisation(plan["municipality"]) | {"dct:identifier": plan["municipality_code"]}
    forms = [_form(base, plan, *form) for form in FORMS]
    told: dict[str, Any] = {
        "@id": f"{page}#dataset",
        "@type": ["dcat:Dataset", "schema:Dataset"],
        "dct:title": _japanese(plan["title"]),
        "schema:name": plan["title"],
        "dct:description": _japanese(about),
        "schema:description": about,
        "dct:identifier": plan["slug"],
        "dct:language": JAPANESE,
        "dct:modified": {
            "@value": max(filter(None, (plan["updated_at"], plan["rated_at"]))),
            "@type": "xsd:dateTime",
        },
        "dct:publisher": publisher,
        "schema:publisher": publisher,
        "dcat:landingPage": {"@id": page},
        "schema:url": {"@id": page},
        "dcat:distribution": forms,
        "schema:distribution": [{"@id": form["@id"]} for form in forms],
    }
    if plan["licence"] is not None:
        told |= _licence(plan["licence"])
    if plan["source_url"] is not None:
        told["dct:source"] = {"@id": plan["source_url"]}
    if first is not None and last is not None:
        start, end = f"{first}-04-01", f"{last + 1}-03-31"
        told["dct:temporal"] = {
            "@type": "dct:PeriodOfTime",
            "dcat:startDate": {"@value": start, "@type": "xsd:date"},
            "dcat:endDate": {"@value": end, "@type": "xsd:date"},
        }
        told["schema:temporalCoverage"] = f"{start}/{end}"
    return told


@router.get("/.well-known/api-catalog")
async def api_catalog(request: Request) -> Response:
    """API カタログ (RFC 9727): where the API is described, for people and for programs."""
    base = str(request.base_url).rstrip("/")

    def at(path: str, media: str) -> list[dict[str, str]]:
        return [{"href": base + path, "type": media}]

    body = {
        "linkset": [
            {
                "anchor": f"{base}/",
                "service-desc": at("/openapi.json", "application/json"),
                "service-doc": at("/docs", "text/html") + at("/guide", "text/html"),
                "service-meta": at("/catalog.jsonld", "application/ld+json"),
                "status": at("/readyz", "application/json"),
            }
        ]
    }
    media = 'application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"'
    # Who only asks with HEAD is led here by the header (RFC 9727, 2).
    link = '</.well-known/api-catalog>; rel="api-catalog"'
    return answer(request, body, headers={"Content-Type": media, "Link": link})
