-- The same rows for every peer, with the indexes that their questions need.
CREATE TABLE plan (
    id INTEGER PRIMARY KEY, slug TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
    municipality_code TEXT NOT NULL, municipality TEXT NOT NULL
);
CREATE TABLE section (
    id INTEGER PRIMARY KEY, plan_id INTEGER NOT NULL REFERENCES plan (id), code TEXT NOT NULL, label TEXT NOT NULL,
    title TEXT NOT NULL, position INTEGER NOT NULL, UNIQUE (plan_id, code)
);
CREATE INDEX section_code ON section (code);
CREATE TABLE measure (
    id INTEGER PRIMARY KEY, plan_id INTEGER NOT NULL REFERENCES plan (id),
    section_id INTEGER NOT NULL REFERENCES section (id), code TEXT NOT NULL, path TEXT NOT NULL, title TEXT NOT NULL,
    position INTEGER NOT NULL, version INTEGER NOT NULL, created_at TIMESTAMP NOT NULL, updated_at TIMESTAMP NOT NULL,
    UNIQUE (plan_id, code)
);
CREATE INDEX measure_section ON measure (section_id);
CREATE TABLE evaluation (
    id INTEGER PRIMARY KEY, measure_id INTEGER NOT NULL REFERENCES measure (id), fiscal_year INTEGER NOT NULL,
    ordinal INTEGER NOT NULL, implementation TEXT, rating TEXT, rationale TEXT, next_plan TEXT, department TEXT,
    version INTEGER NOT NULL, created_at TIMESTAMP NOT NULL, updated_at TIMESTAMP NOT NULL,
    UNIQUE (measure_id, fiscal_year, ordinal)
);
CREATE INDEX evaluation_year_rating ON evaluation (fiscal_year, rating);
CREATE INDEX evaluation_measure_rating ON evaluation (measure_id, rating);
