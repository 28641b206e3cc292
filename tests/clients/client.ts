// Reads with the types that are made of docs/openapi.json: what the text does not say does not compile.
import type { components, paths } from "./schema.js";

type Rows = paths["/evaluations"]["get"];
type Page = Rows["responses"]["200"]["content"]["application/json"];
type Query = NonNullable<Rows["parameters"]["query"]>;
type Timeline = components["schemas"]["Timeline"];
type Problem = components["schemas"]["Problem"];

const base = process.argv[2] ?? "";

async function get<Answer>(path: string, query: Record<string, string> = {}): Promise<Answer> {
  const answer = await fetch(`${base}${path}?${new URLSearchParams(query)}`);
  return (await answer.json()) as Answer;
}

const query = { plan: "fujimi-yumetsunagu", rating: "B", limit: 1 } satisfies Query;
// @ts-expect-error there is no such parameter
const wrong = { colour: "red" } satisfies Query;

const page = await get<Page>("/evaluations", { ...query, limit: String(query.limit) });
const [row] = page.results;
const rating: string | null | undefined = row?.rating;
console.log(page.metadata.resultset.count, row?.key, rating);

const timeline = await get<Timeline>("/measures/24/timeline");
for (const year of timeline.results) console.log(year.fiscal_year_label, year.evaluations.length);

const problem = await get<Problem>("/evaluations", wrong);
console.log(problem.status, problem.type, problem.errors?.[0]?.parameter);
