from msgspec.structs import replace

from msa.api import conditions
from msa.api.meta import Condition


def test_news_are_conditions_whose_status_or_reason_is_another_now() -> None:
    same = Condition("A", "True", "R", "m")
    before = (same, Condition("B", "True", "R"), Condition("C", "True", "R"))
    after = (
        replace(same, message="other"),
        Condition("B", "False", "R"),
        Condition("C", "True", "S"),
        Condition("D", "True", "R"),
    )
    assert [item.type for item in conditions.news(before, after)] == ["B", "C", "D"]
