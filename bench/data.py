"""Plans that do not exist, of any number, with texts as long as those of the seed: the same ones every time."""

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

from app.municipalities import check_digit

SECTIONS, YEARS = 4, range(2015, 2025)  # of a plan


class Shape(NamedTuple):
    """How many plans a town has, and how many measures a plan."""

    plans: int
    measures: int

    @property
    def rows(self) -> int:
        """Of a plan."""
        return self.measures * len(YEARS)


TOWNS = 1_741  # of the country
COUNTRY = Shape(10, 100)
WHOLE = TOWNS * COUNTRY.plans * COUNTRY.rows


def shape_of(rows: int) -> Shape:
    return COUNTRY if rows == WHOLE else Shape(1, 60)


def plans_of(rows: int) -> int:
    """How many plans have so many rows."""
    return -(-rows // shape_of(rows).rows)


RATINGS = ("S", "A", "B", "C")
TOPICS = (
    "子ども食堂", "学習支援教室", "居場所づくり", "総合相談窓口", "家庭訪問", "就労支援", "奨学金制度", "保育所入所",
    "空き家活用", "図書館開放", "医療費助成", "給付金支給", "防災訓練", "健康診査", "読書活動", "世代間交流",
    "通学路点検", "里親制度", "養育費相談", "言葉の教室",
)  # fmt: skip
DONE = (
    "{topic}を市内{n}か所で実施し、延べ{m}人が参加",
    "{topic}の周知を広報紙と市公式サイトで年{n}回実施",
    "{n}月から{topic}の対象を拡大し、{m}世帯が利用",
    "関係機関や地域団体と{topic}に関する会議を{n}回開催",
    "{topic}の利用者アンケートを実施し、{m}件の回答を集計",
)
REASONS = (
    "{topic}の担い手の確保が課題となっている",
    "{topic}への理解が広がり利用者が増加",
    "関係課との連携を強化する必要があるため",
    "{topic}の会場と日程の調整に時間を要した",
)
NEXT = (
    "{topic}の継続実施と周知の強化",
    "{topic}の実施回数を{n}回に増やす",
    "{topic}の対象者の拡大を検討",
    "関係機関と協議し{topic}を見直す",
)
TITLES = ("{topic}の充実", "{topic}の実施体制の整備", "{topic}に関する情報発信", "地域における{topic}の推進")
# Two of these name a town. No text has two of them side by side but those that name it.
NAMES = "霞梓椿榛葵蘭菫萩楠桐柊欅樺椎楢栃桂榎槙檜樫柏柚桃杏梅李栗柿梨橘蕗芹蓬葛藤萱葦蒲菖蓮菅"


class Plan(NamedTuple):
    id: int
    slug: str
    title: str
    municipality_code: str
    municipality: str


class Section(NamedTuple):
    id: int
    plan_id: int
    code: str
    label: str
    title: str
    position: int


class Measure(NamedTuple):
    id: int
    plan_id: int
    section_id: int
    code: str
    path: list[str]
    title: str
    position: int


class Evaluation(NamedTuple):
    id: int
    measure_id: int
    fiscal_year: int
    ordinal: int
    implementation: str
    rating: str
    rationale: str
    next_plan: str
    department: str


class Book(NamedTuple):
    """A plan with all that stands in it."""

    plan: Plan
    sections: list[Section]
    measures: list[Measure]
    evaluations: list[Evaluation]


def books(rows: int) -> Iterator[Book]:
    """As many plans as together have so many evaluations; the last is cut to fit."""
    shape = shape_of(rows)
    for number in range(plans_of(rows)):
        yield _book(number, shape, min(shape.rows, rows - number * shape.rows))


def town(number: int) -> str:
    """A word of two characters that stands in few rows, all of one plan."""
    return NAMES[number // len(NAMES)] + NAMES[number % len(NAMES)]


def words() -> list[str]:
    """Words of two characters that stand in many rows, of every plan."""
    pairs = (text[at : at + 2] for text in TOPICS for at in range(len(text) - 1))
    return sorted({pair for pair in pairs if all("一" <= character <= "龠" for character in pair)})


def _book(number: int, shape: Shape, rows: int) -> Book:
    chance = random.Random(number)
    name = town(number // shape.plans)
    plan = Plan(
        id=number + 1,
        slug=f"plan-{number + 1}",
        title=f"第{number % 5 + 1}次{name}市子ども未来応援計画",
        municipality_code=_municipality_code(number // shape.plans),
        municipality=f"{name}市",
    )
    sections = [
        Section(
            number * SECTIONS + n, plan.id, str(n), f"第{n}節", f"{chance.choice(TOPICS)}と地域の支え合い", n
        )
        for n in range(1, SECTIONS + 1)
    ]
    measures = []
    each = shape.measures // SECTIONS
    for place in range(shape.measures):
        section = sections[place // each]
        group, item = divmod(place % each, 5)
        measures.append(
            Measure(
                id=number * shape.measures + place + 1,
                plan_id=plan.id,
                section_id=section.id,
                code=f"{section.code}-{group + 1}-{item + 1}",
                path=[section.label, str(group + 1), "①②③④⑤"[item]],
                title=chance.choice(TITLES).format(topic=chance.choice(TOPICS)),
                position=place + 1,
            )
        )
    places = itertools.islice(itertools.product(measures, YEARS), rows)
    evaluations = [
        _evaluation(number * shape.rows + n, measure, year, chance, plan)
        for n, (measure, year) in enumerate(places, 1)
    ]
    return Book(plan, sections, measures[: -(-rows // len(YEARS))], evaluations)


def _evaluation(id: int, measure: Measure, year: int, chance: random.Random, plan: Plan) -> Evaluation:
    topic = chance.choice(TOPICS)
    told = {"topic": topic, "n": chance.randrange(2, 12), "m": chance.randrange(20, 400)}
    place = f"{plan.municipality[:2]}地区で" if measure.position == 1 else ""
    return Evaluation(
        id=id,
        measure_id=measure.id,
        fiscal_year=year,
        ordinal=1,
        implementation=place + chance.choice(DONE).format(**told),
        rating=chance.choices(RATINGS, (1, 5, 3, 1))[0],
        rationale=chance.choice(REASONS).format(**told),
        next_plan=chance.choice(NEXT).format(**told),
        department=("子育て支援課", "学校教育課", "福祉政策課", "生涯学習課")[measure.position % 4],
    )


def _municipality_code(number: int) -> str:
    five = f"{number % 47 + 1:02}{number // 47 + 201:03}"
    return five + check_digit(five)
