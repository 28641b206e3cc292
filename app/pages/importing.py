"""The page on which staff import a table: what would be understood is seen before anything is written. /import"""

from fastapi import APIRouter, Request, Response

from app.documents.vocabulary import FIELDS
from app.kit.http import PUBLIC, tag, unless_known
from app.models import PLAN
from app.pages.html import HERE, POLICY, AnyPage, PageRoute, Viewed
from app.plans import PLANS

router = APIRouter(include_in_schema=False, route_class=PageRoute)

# The one page with a script: it speaks to this service alone.
SCRIPTED = (
    POLICY.replace("form-action 'self'", "form-action 'none'") + "; script-src 'self'; connect-src 'self'"
)

COLUMNS = {
    "path": ("番号・節", "numbering"),
    "section": ("節の名称", "section title"),
    "title": ("施策名", "measure title"),
    "implementation": ("実施内容", "what was done"),
    "rating": ("評価", "rating"),
    "rationale": ("理由・課題等", "reasons"),
    "next_plan": ("次年度計画内容", "next plan"),
    "department": ("担当課", "department"),
    "fiscal_year": ("年度", "fiscal year"),
    "code": ("施策コード", "measure code"),
    "section_code": ("節コード", "section code"),
    "ordinal": ("枝番", "ordinal"),
    "rating_code": ("評価区分の記号", "code of the rating"),
    "extra": ("その他の列（見出しのまま残す）", "kept under its header"),
    "ignore": ("読まない", "not read"),
}

# What the script says, by name.
WORDS = {
    "reading": ("読んでいます…", "Reading…"),
    "writing": ("取り込んでいます…", "Importing…"),
    "away": ("サービスにつながりません。", "The service cannot be reached."),
    "understood": (
        "読み取れました（まだ何も書き込んでいません）",
        "Understood (nothing has been written yet)",
    ),
    "refused": ("読み取れないところがあります", "Some of it was not understood"),
    "done": ("取り込みました", "Imported"),
    "open": ("計画を見る", "Open the plan"),
    "rows": ("行", "rows"),
    "created": ("新規", "new"),
    "updated": ("更新", "changed"),
    "unchanged": ("変更なし", "unchanged"),
    "plan": ("計画", "plans"),
    "document": ("資料", "documents"),
    "section": ("節", "sections"),
    "measure": ("施策", "measures"),
    "evaluation": ("年度評価", "results"),
    "new": ("新しい施策", "Measures that are new"),
    "missing": ("今回の表にない施策", "Measures that this table does not have"),
    "renamed": ("名称の変わった施策", "Measures with another title"),
    "columns": (
        "列の読み取り方（違っていれば選び直してください）",
        "The columns (choose another where it is wrong)",
    ),
    "warnings": ("注意", "Please note"),
    "place": ("{line}行目 {column}列目", "line {line}, column {column}"),
    "line": ("{line}行目", "line {line}"),
    "column": ("{column}列目", "column {column}"),
    "year": ("{year}年度", "FY{year}"),
}


@router.get("/import")
def import_page(view: Viewed, asked: AnyPage) -> Response:
    view.unless_known()
    plans = view.session.execute(PLANS.select(PLAN.c.origin.is_(None)).order_by(PLAN.c.slug)).mappings()
    english = view.language.english

    def told(words: dict[str, tuple[str, str]]) -> dict[str, str]:
        return {name: said[english] for name, said in words.items()}

    return view.show(
        "import.html",
        headers={"Content-Security-Policy": SCRIPTED},
        plans=[dict(plan) for plan in plans],
        words=told(WORDS),
        columns={name: told(COLUMNS)[name] for name in FIELDS},
    )


@router.get("/import.js")
async def import_script(request: Request, v: str | None = None) -> Response:
    body = (HERE / "import.js").read_bytes()
    etag = tag(body)
    unless_known(request, etag)
    return Response(body, headers={**PUBLIC, "ETag": etag}, media_type="text/javascript")
