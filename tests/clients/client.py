"""Reads and writes with the client that is made of docs/openapi.json: python client.py ADDRESS KEY"""

import sys

from shinchoku_client import AuthenticatedClient, Client
from shinchoku_client.api.evaluations import (
    change_evaluation,
    create_evaluation,
    list_evaluations,
    read_evaluation,
    remove_evaluation,
    summarise_evaluations,
)
from shinchoku_client.models import (
    Evaluation,
    EvaluationPage,
    EvaluationPatch,
    NewEvaluation,
    Problem,
    Summary,
)

address, key = sys.argv[1:]
anyone = Client(base_url=address)
editor = AuthenticatedClient(base_url=address, token=key)

page = list_evaluations.sync(client=anyone, plan="fujimi-yumetsunagu", rating="B", fiscal_year="H29")
assert isinstance(page, EvaluationPage)
print(page.metadata.resultset.count, page.results[0].key)

summary = summarise_evaluations.sync(client=anyone, group_by="section")
assert isinstance(summary, Summary)
print([group.section_label for group in summary.results], summary.total.rated)

new = NewEvaluation(
    plan="fujimi-yumetsunagu", measure_code="3-2-1", fiscal_year=2018, implementation="記入例"
)
made = create_evaluation.sync(client=editor, body=new)
assert isinstance(made, Evaluation)
tag = read_evaluation.sync_detailed(made.id, client=anyone).headers["ETag"]
changed = change_evaluation.sync(made.id, client=editor, if_match=tag, body=EvaluationPatch(rating="B"))
assert isinstance(changed, Evaluation)
print(changed.key, changed.rating, changed.version)
stale = remove_evaluation.sync(made.id, client=editor, if_match=tag)
assert isinstance(stale, Problem)
print(stale.status, stale.type_)
