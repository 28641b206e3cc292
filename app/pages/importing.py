"""The page on which staff import a table: what would be understood is seen before anything is written. /import"""

from fastapi import APIRouter, Request, Response

from app.documents.vocabulary import FIELDS, YEARLY
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

# What a line was taken for.
KINDS = {
    "title": ("題名", "title"),
    "subtitle": ("副題", "subtitle"),
    "legend": ("凡例", "legend"),
    "header": ("見出し", "header"),
    "heading": ("節など", "heading"),
    "measure": ("施策", "measure"),
    "repeat": ("再掲", "repeated"),
    "total": ("合計", "total"),
    "note": ("注", "note"),
    "page": ("ページの繰り返し", "page number or repeated line"),
}

# What the script says, by name.
WORDS = {
    "reading": ("読んでいます…", "Reading…"),
    "writing": ("取り込んでいます…", "Importing…"),
    "away": ("サービスにつながりません。", "The service cannot be reached."),
    "stale": (
        "ファイルが、選んだあとで変わりました。もう一度選んでください。",
        "The file was changed after it was chosen. Choose it once more.",
    ),
    "understood": (
        "読み取れました（まだ何も書き込んでいません）",
        "Understood (nothing has been written yet)",
    ),
    "refused": (
        "読み取れないところが {count} か所あります（何も書き込んでいません）",
        "Not understood: {count} (nothing was written)",
    ),
    "failed": ("読み取れませんでした（何も書き込んでいません）", "It did not work (nothing was written)"),
    "unsure": ("取り込まれたかどうか、分かりません", "It is not known whether it was imported"),
    "look": (
        "しばらくしてから、もう一度「試しに読む」を押してください。すべて「変更なし」なら、取り込まれています。",
        "Press “Try it” after a while: where all is unchanged, it was imported.",
    ),
    "into": ("取り込み先:", "Goes into:"),
    "moved": (
        "確かめていただいているあいだに、この計画が更新されたので、取り込みませんでした。"
        "いまの内容で読み直したものが下にあります。もう一度確かめてください。",
        "While you were looking, this plan was changed, so nothing was imported. "
        "Below, the table was read again as things stand now. Please look once more.",
    ),
    "done": ("取り込みました", "Imported"),
    "open_plan": ("計画を見る", "Open the plan"),
    "again": (
        "条件が変わりました。もう一度「試しに読む」を押してください。",
        "What is asked has changed. Press “Try it” once more.",
    ),
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
    "fresh": ("新", "new"),
    "columns": ("表と、その読み取り方", "The table, as it was understood"),
    "columns_how": (
        "列の項目が違っていれば、表の上の欄で選び直してください。すぐに読み直します。",
        "Where a column is something else, choose so above it: the table is read again at once.",
    ),
    "columns_unread": (
        "見出しの行が見つかりません。3列以上の項目を、表の上の欄で選んでください。",
        "No row of headers was found. Choose above the table what three columns or more are.",
    ),
    "errors": ("読み取れないところの一覧", "What was not understood"),
    "table": ("表", "Table"),
    "lines": ("行", "Line"),
    "head": ("列の項目", "the column's field"),
    "open": ("選択する", "choose"),
    "year": ("{column}列目の年度", "fiscal year of column {column}"),
    "year_here": ("年度", "year"),
    "gap": ("{from}～{to}行目は省いています", "lines {from} to {to} are left out"),
    "left_out": ("（ほかに {count} 行あります）", "({count} further lines)"),
    "warnings": ("注意", "Please note"),
    "error": ("誤り", "Error"),
    "note": ("注意", "Note"),
    "place": ("{line}行目 {column}列目", "line {line}, column {column}"),
    "line": ("{line}行目", "line {line}"),
    "column": ("{column}列目", "column {column}"),
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
        kinds=told(KINDS),
        columns=[(name, told(COLUMNS)[name]) for name in FIELDS],
        dated=[*YEARLY, "extra"],
    )


@router.get("/import.js")
async def import_script(request: Request, v: str | None = None) -> Response:
    body = (HERE / "import.js").read_bytes()
    etag = tag(body)
    unless_known(request, etag)
    return Response(body, headers={**PUBLIC, "ETag": etag}, media_type="text/javascript")
