"""Invented plans of towns that do not exist, with what one year of one real plan cannot show: several years, marks
from another scale, rows without a rating, rows that disagree, long titles, measures that come and go."""

from typing import Any

from app.changes import save
from app.kit.session import Session
from app.models import Evaluation, Measure, Plan, Section

MIHON, MITORI = "119997", "209996"

CHILDREN = {
    "1": (
        "切れ目のない相談と支援",
        [
            "こども相談窓口の一本化",
            "妊娠期からの伴走支援",
            "巡回相談員の学校・保育所への派遣",
            "庁内連携会議の開催",
            "外国につながるこどもと保護者のための、やさしい日本語と多言語による情報提供、相談、通訳派遣および学校生活への"
            "円滑な接続を総合的に行う支援体制の整備",
        ],
    ),
    "2": (
        "学びと居場所",
        ["放課後の学習教室", "こども食堂への支援", "図書館の夜間開館", "若者の居場所づくり"],
    ),
    "3": (
        "暮らしと仕事",
        ["ひとり親家庭の就労支援", "給付型奨学金", "住まいの相談", "養育費の取り決めの支援"],
    ),
    "4": ("地域で支える", ["地域ボランティアの養成", "見守りネットワーク", "企業との連携協定"]),
}
# By measure, from 2019 on: a mark, "-" for a row without one, "" for no row, and two marks for two rows.
CHILDREN_RATED = {
    "1-1": "B A A A", "1-2": "C B B A", "1-3": "B B C B", "1-4": "A A A A", "1-5": "- D C B",
    "2-1": "B B A A", "2-2": "C C B B", "2-3": "D D C C", "2-4": "C - C B",
    "3-1": "AB AB A A", "3-2": "B B B B", "3-3": "C D D C", "3-4": " D C B",
    "4-1": "B C C C", "4-2": "A A B B", "4-3": "C   ",
}  # fmt: skip
WORK = {
    "A": "対象となる家庭への周知を進め、年度末までに延べ{n}件に対応した。",
    "B": "計画した{n}回のうち多くを実施したが、一部は時期を改めた。",
    "C": "関係課との協議を{n}回行い、実施方法を検討した。",
    "D": "担い手が見つからず、{n}月に予定していた開始を見送った。",
    "-": "感染症の影響により、{n}回の実施を取りやめた。",
}
REASON = {
    "A": "利用が定着し、関係機関との分担も明確になった。",
    "B": "会場と時期の調整に時間を要した。",
    "C": "財源と人員の見通しが立っていない。",
    "D": "受託できる団体がなく、仕様の見直しが必要である。",
    "-": None,
}
NEXT = {
    "A": "現在の体制を維持し、満足度を確かめる。",
    "B": "開催時期を早め、回数を{n}回に増やす。",
    "C": "先進地の例を参考に、年度内に案をまとめる。",
    "D": "仕様を改めて{n}月に再度公募する。",
    "-": None,
}
STRATEGY = {
    "1": ("しごとをつくる", ["創業の支援", "空き店舗の活用", "農産物の販路拡大"]),
    "2": ("人の流れをつくる", ["移住相談", "お試し住宅", "関係人口の拡大"]),
    "3": ("時代に合った地域をつくる", ["公共交通の再編", "窓口のデジタル化"]),
}
STRATEGY_RATED = {
    "1-1": "○ ◎", "1-2": "△ ○", "1-3": "◎ ◎", "2-1": "○ △", "2-2": "× △", "2-3": "○ ○", "3-1": "△ ×", "3-2": "◎ ○",
}  # fmt: skip


def invent(session: Session) -> None:
    _plan(
        session,
        {
            "slug": "mihon-kodomo",
            "title": "みほん市こども・若者計画",
            "municipality_code": MIHON,
            "municipality": "みほん市（見本）",
            "first_fiscal_year": 2019,
            "last_fiscal_year": 2023,
            "ratings": [{"code": code, "label": None, "description": None} for code in "ABCD"],
        },
        CHILDREN,
        CHILDREN_RATED,
        department="こども課",
    )
    words = {
        "◎": "目標を上回った",
        "○": "目標どおり",
        "△": "目標を下回った",
        "×": "着手できなかった",
    }
    _plan(
        session,
        {
            "slug": "mihon-senryaku",
            "title": "第2期みほん市まち・ひと・しごと創生総合戦略",
            "municipality_code": MIHON,
            "municipality": "みほん市（見本）",
            "ratings": [{"code": code, "label": label, "description": None} for code, label in words.items()],
            "ratings_closed": True,
            "licence": "CC BY 4.0",
            "source_url": "https://example.jp/senryaku",
        },
        STRATEGY,
        STRATEGY_RATED,
    )
    _plan(
        session,
        {
            "slug": "mitori-kankyo",
            "title": "見取町環境基本計画",
            "municipality_code": MITORI,
            "municipality": "見取町（見本）",
            "ratings": [
                {"code": code, "label": None, "description": None} for code in ("継続", "完了", "見直し")
            ],
            "licence": "政府標準利用規約（第2.0版）",
        },
        {"1": (None, ["ごみの減量", "河川の清掃", "省エネルギー改修"])},
        {"1-1": "継続 継続", "1-2": "継続 完了", "1-3": "継続 見直し"},
    )


def _plan(
    session: Session,
    plan: dict[str, Any],
    sections: dict[str, tuple[str | None, list[str]]],
    rated: dict[str, str],
    department: str | None = None,
) -> None:
    [plan_id] = save(session, Plan, [plan]).ids
    for place, (code, (title, measures)) in enumerate(sections.items(), 1):
        section = {
            "plan_id": plan_id,
            "code": code,
            "label": f"基本目標{code}",
            "title": title,
            "position": place,
        }
        [section_id] = save(session, Section, [section]).ids
        of_section = [
            {
                "plan_id": plan_id,
                "section_id": section_id,
                "code": f"{code}-{number}",
                "title": title,
                "path": [f"基本目標{code}", f"({number})"],
                "position": number,
            }
            for number, title in enumerate(measures, 1)
        ]
        ids = save(session, Measure, of_section).ids
        rows = [
            _row(id, year, ordinal, mark, len(marks) == 1, department)
            for id, measure in zip(ids, of_section, strict=True)
            for year, marks in enumerate(_years(rated[measure["code"]]), 2019)
            for ordinal, mark in enumerate(marks, 1)
        ]
        save(session, Evaluation, rows)


def _years(rated: str) -> list[list[str]]:
    """A measure's marks by year; letters beside each other are two rows."""
    return [
        list(marks) if set(marks) <= set("ABCD-") else [marks] if marks else [] for marks in rated.split(" ")
    ]


def _row(
    measure: int, year: int, ordinal: int, mark: str, alone: bool, department: str | None
) -> dict[str, Any]:
    kind = {"◎": "A", "○": "B", "△": "C", "×": "D"}.get(mark, mark if mark in WORK else "B")
    n = 2 + (measure * 7 + year) % 10
    texts = {
        "implementation": WORK[kind].format(n=n),
        "rationale": REASON[kind],
        "next_plan": (told := NEXT[kind]) and told.format(n=n + 1),
    }
    return {
        "measure_id": measure,
        "fiscal_year": year,
        "ordinal": ordinal,
        "rating": None if mark == "-" else mark,
        "department": department if alone or department is None else f"{department}第{ordinal}係",
        **texts,
    }
