"""全国地方公共団体コード: six digits, the last a check digit, that tell 富士見市 from 富士見町."""

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.kit.text import excerpt, refusal

ASCII_DIGITS = str.maketrans("０１２３４５６７８９", "0123456789")


def check_digit(five: str) -> str:
    weighed = sum(weight * int(digit) for weight, digit in zip((6, 5, 4, 3, 2), five, strict=True))
    return str((11 - weighed % 11) % 10)


def complete(text: str) -> str:
    """The six digits of a code that is given with or without its check digit."""
    code = text.translate(ASCII_DIGITS)
    if not re.fullmatch("[0-9]{5,6}", code):
        raise _refused(
            f"「{excerpt(text)}」は団体コードではありません。112356 のように5桁か6桁の数字で書いてください。",
            f'"{excerpt(text)}" is not a municipality code: write its five or six digits, like 112356.',
        )
    if not "01" <= code[:2] <= "47":
        raise _refused(
            f"「{code}」の先頭の {code[:2]} は都道府県番号ではありません(01〜47)。",
            f'"{code}" begins with {code[:2]}, which is not a prefecture (01 to 47).',
        )
    five, right = code[:5], check_digit(code[:5])
    if code not in (five, five + right):
        raise _refused(
            f"「{code}」の検査数字が違います。{five} の検査数字は {right} です({five}{right})。",
            f'"{code}" has a wrong check digit: that of {five} is {right} ({five}{right}).',
        )
    return five + right


def _refused(ja: str, en: str) -> PydanticCustomError:
    return refusal("municipality_code", ja, en)


MunicipalityCode = Annotated[
    str,
    AfterValidator(complete),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(0[1-9]|[1-3][0-9]|4[0-7])[0-9]{3,4}$",
            "description": "全国地方公共団体コード。6桁、または検査数字を除いた5桁(検査数字は補われます)。 "
            "Municipality code: six digits, or five, which are completed with the check digit (市区町村コード).",
            "examples": ["112356"],
        }
    ),
]
