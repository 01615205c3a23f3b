-- The database, as `catalog.database.db.build` makes it: tables, views, and a comment on each of them and of their columns.
-- Each system adds a schema of its own name with its own tables, whose first column is the profile.

CREATE TABLE systems (
    system VARCHAR PRIMARY KEY,
    title VARCHAR NOT NULL,
    summary VARCHAR NOT NULL,
    task VARCHAR NOT NULL,
    paper_title VARCHAR NOT NULL,
    arxiv VARCHAR,
    venue VARCHAR,
    repository VARCHAR,
    main_claim VARCHAR NOT NULL,
    sort_order INTEGER NOT NULL,
    card VARCHAR NOT NULL
);
COMMENT ON TABLE systems
    IS 'One row a system: a paper that the catalog reproduces. From the cards stages/<system>/README.md.';
COMMENT ON COLUMN systems.system IS 'Name, the same everywhere: folder, stages, reports, schema.';
COMMENT ON COLUMN systems.title IS 'Title shown to readers.';
COMMENT ON COLUMN systems.summary IS 'What the paper does, in a sentence.';
COMMENT ON COLUMN systems.task IS 'Field of work, e.g. mechanistic interpretability.';
COMMENT ON COLUMN systems.paper_title IS 'Title of the paper.';
COMMENT ON COLUMN systems.arxiv IS 'arXiv identifier.';
COMMENT ON COLUMN systems.venue IS 'Where the paper was published.';
COMMENT ON COLUMN systems.repository IS 'The authors'' repository, owner/name on GitHub or a URL.';
COMMENT ON COLUMN systems.main_claim IS 'The claim that stands for the paper on the overview; a value of claims.claim.';
COMMENT ON COLUMN systems.sort_order IS 'Place in listings.';
COMMENT ON COLUMN systems.card IS 'The whole card: YAML front matter, then Markdown.';

CREATE TABLE datasets (
    dataset VARCHAR PRIMARY KEY,
    pretty_name VARCHAR NOT NULL,
    summary VARCHAR NOT NULL,
    license VARCHAR NOT NULL,
    language VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    made_by VARCHAR NOT NULL,
    card VARCHAR NOT NULL
);
COMMENT ON TABLE datasets IS 'One row a data set. From the cards data/<dataset>/README.md.';
COMMENT ON COLUMN datasets.dataset IS 'Name and folder under data/.';
COMMENT ON COLUMN datasets.pretty_name IS 'Name shown to readers.';
COMMENT ON COLUMN datasets.summary IS 'What it holds, in a sentence.';
COMMENT ON COLUMN datasets.license IS 'Licence identifier.';
COMMENT ON COLUMN datasets.language IS 'Language codes, separated by a comma and a space.';
COMMENT ON COLUMN datasets.source IS 'authored, generated, or asset: <name>.';
COMMENT ON COLUMN datasets.made_by IS 'Stage that builds it.';
COMMENT ON COLUMN datasets.card IS 'The whole card.';

CREATE TABLE models (
    model VARCHAR PRIMARY KEY,
    summary VARCHAR NOT NULL,
    license VARCHAR NOT NULL,
    base_model VARCHAR,
    kind VARCHAR NOT NULL,
    parameters BIGINT,
    card VARCHAR NOT NULL
);
COMMENT ON TABLE models IS 'One row a model. From the cards models/<model>/README.md.';
COMMENT ON COLUMN models.model IS 'Name and folder under models/.';
COMMENT ON COLUMN models.summary IS 'What it is, in a sentence.';
COMMENT ON COLUMN models.license IS 'Licence identifier.';
COMMENT ON COLUMN models.base_model IS 'What it was made from.';
COMMENT ON COLUMN models.kind IS 'base, lora, edited or trained.';
COMMENT ON COLUMN models.parameters IS 'Number of parameters as the card gives it.';
COMMENT ON COLUMN models.card IS 'The whole card.';

CREATE TABLE metrics (
    metric VARCHAR PRIMARY KEY,
    owner VARCHAR,
    display_name VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    unit VARCHAR NOT NULL,
    lower_is_better BOOLEAN,
    min_value DOUBLE,
    max_value DOUBLE
);
COMMENT ON TABLE metrics IS 'One row a metric. From catalog/report/metrics.yaml and stages/<system>/metrics.yaml.';
COMMENT ON COLUMN metrics.metric IS 'Name used in results, reported and claims.';
COMMENT ON COLUMN metrics.owner IS 'System that alone measures it; NULL for a shared metric.';
COMMENT ON COLUMN metrics.display_name IS 'Name shown to readers.';
COMMENT ON COLUMN metrics.description IS 'How it is computed.';
COMMENT ON COLUMN metrics.unit IS 'Unit of the values; empty for a plain number.';
COMMENT ON COLUMN metrics.lower_is_better IS 'Direction; NULL where neither direction is better.';
COMMENT ON COLUMN metrics.min_value IS 'Lowest possible value; NULL is no bound.';
COMMENT ON COLUMN metrics.max_value IS 'Highest possible value; NULL is no bound.';

CREATE TABLE dataset_files (
    dataset VARCHAR NOT NULL,
    profile VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    "rows" BIGINT,
    bytes BIGINT,
    md5 VARCHAR,
    "columns" STRUCT(name VARCHAR, "type" VARCHAR)[],
    head VARCHAR
);
COMMENT ON TABLE dataset_files
    IS 'One row a table of a data set, built or written by hand, at each profile that has it. Built files may be absent.';
COMMENT ON COLUMN dataset_files.dataset IS 'Data set.';
COMMENT ON COLUMN dataset_files.profile IS 'small or full.';
COMMENT ON COLUMN dataset_files.path IS 'Path from the project''s root.';
COMMENT ON COLUMN dataset_files."rows" IS 'Number of rows.';
COMMENT ON COLUMN dataset_files.bytes IS 'Size of the file.';
COMMENT ON COLUMN dataset_files.md5 IS 'Hash, as in dvc.lock.';
COMMENT ON COLUMN dataset_files."columns" IS 'Columns, in the file''s order.';
COMMENT ON COLUMN dataset_files.head IS 'First five rows, a JSON list of objects; long texts are cut.';

CREATE TABLE model_files (
    model VARCHAR NOT NULL,
    profile VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    parameters BIGINT,
    bytes BIGINT,
    md5 VARCHAR
);
COMMENT ON TABLE model_files
    IS 'One row a folder of weights, at each profile it was made at. The files themselves may be absent.';
COMMENT ON COLUMN model_files.model IS 'Model.';
COMMENT ON COLUMN model_files.profile IS 'small or full; base for a converted base model, which is the same at both.';
COMMENT ON COLUMN model_files.path IS 'Path from the project''s root.';
COMMENT ON COLUMN model_files.parameters IS 'Numbers stored in the safetensors files; tied matrices count once.';
COMMENT ON COLUMN model_files.bytes IS 'Size of all files of the folder.';
COMMENT ON COLUMN model_files.md5 IS 'Hash of the folder, as in dvc.lock.';

CREATE TABLE uses (
    system VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    stage VARCHAR
);
COMMENT ON TABLE uses
    IS 'Which system uses which data set and model: from its card and from the paths of its stages.';
COMMENT ON COLUMN uses.system IS 'System.';
COMMENT ON COLUMN uses.kind IS 'dataset or model.';
COMMENT ON COLUMN uses.name IS 'A value of datasets.dataset or models.model.';
COMMENT ON COLUMN uses.stage IS 'Stage of the system that reads or makes it; NULL when only the card names it.';

CREATE TABLE results (
    system VARCHAR NOT NULL,
    profile VARCHAR NOT NULL,
    experiment VARCHAR NOT NULL,
    dataset VARCHAR,
    model VARCHAR,
    method VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    value DOUBLE NOT NULL,
    ci_low DOUBLE,
    ci_high DOUBLE,
    n BIGINT
);
COMMENT ON TABLE results IS 'Every measured number, one a row.';
COMMENT ON COLUMN results.system IS 'System.';
COMMENT ON COLUMN results.profile IS 'Scale of the run: small (a laptop) or full (the paper''s).';
COMMENT ON COLUMN results.experiment IS 'Question of the paper that the number belongs to.';
COMMENT ON COLUMN results.dataset IS 'Data set it was measured on, a name of a card; NULL where the number is of none or of several.';
COMMENT ON COLUMN results.model IS 'Model it was measured with, a name of a card; NULL where the number is of none, as that of a majority answer.';
COMMENT ON COLUMN results.method IS 'What was done: the paper''s method, a baseline, none.';
COMMENT ON COLUMN results.metric IS 'A value of metrics.metric.';
COMMENT ON COLUMN results.split IS 'Part of the data set.';
COMMENT ON COLUMN results.seed IS 'Random seed.';
COMMENT ON COLUMN results.value IS 'The number, in the unit of its metric.';
COMMENT ON COLUMN results.ci_low IS 'Lower bound of the 95 % interval.';
COMMENT ON COLUMN results.ci_high IS 'Upper bound of the 95 % interval.';
COMMENT ON COLUMN results.n IS 'Number of items behind the value.';

CREATE TABLE reported (
    system VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    where_printed VARCHAR NOT NULL,
    trust VARCHAR NOT NULL,
    note VARCHAR
);
COMMENT ON TABLE reported IS 'Every number a paper prints that is compared with ours. From stages/<system>/claims.yaml.';
COMMENT ON COLUMN reported.system IS 'System.';
COMMENT ON COLUMN reported.id IS 'Identifier within the system.';
COMMENT ON COLUMN reported.model IS 'Model, as the paper names it.';
COMMENT ON COLUMN reported.dataset IS 'Data set, as the paper names it.';
COMMENT ON COLUMN reported.method IS 'Method, as the paper names it.';
COMMENT ON COLUMN reported.metric IS 'A value of metrics.metric.';
COMMENT ON COLUMN reported.value IS 'The printed number, in the unit of its metric.';
COMMENT ON COLUMN reported.where_printed IS 'Table, figure or section.';
COMMENT ON COLUMN reported.trust IS 'Who printed it: paper, repository or third-party.';
COMMENT ON COLUMN reported.note IS 'What to know about it.';

CREATE TABLE claims (
    system VARCHAR NOT NULL,
    profile VARCHAR NOT NULL,
    claim VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    claimed_by VARCHAR NOT NULL,
    text VARCHAR NOT NULL,
    rule VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    reported DOUBLE,
    ours DOUBLE,
    ours_low DOUBLE,
    ours_high DOUBLE,
    n BIGINT,
    against_name VARCHAR,
    against_kind VARCHAR,
    against DOUBLE,
    against_low DOUBLE,
    against_high DOUBLE,
    against_n BIGINT,
    smallest_effect DOUBLE,
    where_printed VARCHAR,
    trust VARCHAR,
    reported_id VARCHAR,
    sql_ours VARCHAR NOT NULL,
    sql_against VARCHAR,
    sql_rows VARCHAR
);
COMMENT ON TABLE claims
    IS 'The ledger: each claim of a paper and each check of ours, with its verdict at each profile the system was measured at. From stages/<system>/claims.yaml.';
COMMENT ON COLUMN claims.system IS 'System.';
COMMENT ON COLUMN claims.profile IS 'small or full.';
COMMENT ON COLUMN claims.claim IS 'Identifier within the system.';
COMMENT ON COLUMN claims.position IS 'Place in claims.yaml, from 1.';
COMMENT ON COLUMN claims.claimed_by IS 'paper, or project for a check of ours (calibration, cost, sanity).';
COMMENT ON COLUMN claims.text IS 'What is claimed, in a sentence.';
COMMENT ON COLUMN claims.rule IS 'What must be true for it to hold: its tests in words.';
COMMENT ON COLUMN claims.verdict
    IS 'holds, fails, undecided (the interval holds the bound: this experiment cannot tell), or not measured at this profile.';
COMMENT ON COLUMN claims.metric IS 'Metric of the numbers.';
COMMENT ON COLUMN claims.reported IS 'The paper''s number; NULL when it prints none.';
COMMENT ON COLUMN claims.ours IS 'Our number; NULL when not measured at this profile.';
COMMENT ON COLUMN claims.ours_low IS 'Lower bound of its 95 % interval; NULL for an exact number.';
COMMENT ON COLUMN claims.ours_high IS 'Upper bound.';
COMMENT ON COLUMN claims.n IS 'Items behind our number.';
COMMENT ON COLUMN claims.against_name IS 'What our number is compared with, by name; NULL where there is nothing.';
COMMENT ON COLUMN claims.against_kind
    IS 'trivial (majority, copy), control (random of the same number), untreated (the model before), rival (another method), end (an end of the scale).';
COMMENT ON COLUMN claims.against IS 'Its number.';
COMMENT ON COLUMN claims.against_low IS 'Lower bound of its 95 % interval.';
COMMENT ON COLUMN claims.against_high IS 'Upper bound.';
COMMENT ON COLUMN claims.against_n IS 'Items behind it.';
COMMENT ON COLUMN claims.smallest_effect
    IS 'Smallest effect that the first test could have seen: half the width of its interval; NULL where nothing is sampled.';
COMMENT ON COLUMN claims.where_printed IS 'Where the paper claims it; NULL for a check of ours.';
COMMENT ON COLUMN claims.trust IS 'Who printed the reported number; NULL without one.';
COMMENT ON COLUMN claims.reported_id IS 'The row of reported that the paper''s number is from.';
COMMENT ON COLUMN claims.sql_ours IS 'SQL that gives our number; it runs on this database as it stands.';
COMMENT ON COLUMN claims.sql_against IS 'SQL that gives the number compared with.';
COMMENT ON COLUMN claims.sql_rows IS 'SQL that gives the rows behind our number.';

CREATE TABLE claim_tests (
    system VARCHAR NOT NULL,
    profile VARCHAR NOT NULL,
    claim VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    says VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL,
    relation VARCHAR NOT NULL,
    bound DOUBLE NOT NULL,
    bound_high DOUBLE,
    bound_from VARCHAR,
    exact BOOLEAN NOT NULL,
    value DOUBLE,
    low DOUBLE,
    high DOUBLE,
    n BIGINT,
    smallest_effect DOUBLE,
    sql VARCHAR NOT NULL
);
COMMENT ON TABLE claim_tests IS 'The tests behind each verdict: an effect with its interval against a bound.';
COMMENT ON COLUMN claim_tests.system IS 'System.';
COMMENT ON COLUMN claim_tests.profile IS 'small or full.';
COMMENT ON COLUMN claim_tests.claim IS 'Claim.';
COMMENT ON COLUMN claim_tests.position IS 'Place among the claim''s tests, from 1.';
COMMENT ON COLUMN claim_tests.says IS 'What the test says, in words.';
COMMENT ON COLUMN claim_tests.verdict
    IS 'holds (whole interval on the right side of the bound), fails (whole interval on the wrong side), undecided, not measured.';
COMMENT ON COLUMN claim_tests.relation
    IS 'above, below, at_least, at_most, between; or share: the share of resamples in which the sentence is true, which holds from .95 and fails up to .05.';
COMMENT ON COLUMN claim_tests.bound IS 'The bound; of between the lower one.';
COMMENT ON COLUMN claim_tests.bound_high IS 'The upper bound of between.';
COMMENT ON COLUMN claim_tests.bound_from IS 'Where the bound comes from; NULL for zero.';
COMMENT ON COLUMN claim_tests.exact IS 'Whether nothing is sampled, so that the value is its own interval (counts, FLOPs).';
COMMENT ON COLUMN claim_tests.value IS 'The effect; NULL when not measured.';
COMMENT ON COLUMN claim_tests.low IS 'Lower bound of its 95 % interval, corrected where the claim makes several comparisons.';
COMMENT ON COLUMN claim_tests.high IS 'Upper bound.';
COMMENT ON COLUMN claim_tests.n IS 'Items behind it.';
COMMENT ON COLUMN claim_tests.smallest_effect IS 'Half the width of the interval; NULL where nothing is sampled.';
COMMENT ON COLUMN claim_tests.sql IS 'SQL that gives the effect; it runs on this database as it stands.';

CREATE TABLE claim_evidence (
    system VARCHAR NOT NULL,
    profile VARCHAR NOT NULL,
    claim VARCHAR NOT NULL,
    table_name VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    stage VARCHAR,
    md5 VARCHAR
);
COMMENT ON TABLE claim_evidence IS 'The tables that a claim''s SQL reads, as DuckDB''s parser finds them, and where they come from.';
COMMENT ON COLUMN claim_evidence.system IS 'System.';
COMMENT ON COLUMN claim_evidence.profile IS 'small or full.';
COMMENT ON COLUMN claim_evidence.claim IS 'Claim.';
COMMENT ON COLUMN claim_evidence.table_name IS 'results, or a table of the system''s schema.';
COMMENT ON COLUMN claim_evidence.path IS 'File it was filled from.';
COMMENT ON COLUMN claim_evidence.stage IS 'Stage that wrote the file; NULL at a profile that params.yaml does not name.';
COMMENT ON COLUMN claim_evidence.md5 IS 'Hash of the output in dvc.lock; ends in .dir for the folder of tables.';

CREATE TABLE stages (
    stage VARCHAR PRIMARY KEY,
    system VARCHAR,
    "desc" VARCHAR,
    cmd VARCHAR NOT NULL,
    deps VARCHAR[] NOT NULL,
    outs VARCHAR[] NOT NULL,
    params VARCHAR[] NOT NULL,
    in_lock BOOLEAN NOT NULL
);
COMMENT ON TABLE stages IS 'One row a stage of dvc.yaml, with the profile that params.yaml names.';
COMMENT ON COLUMN stages.stage IS 'Name, as `dvc repro` takes it.';
COMMENT ON COLUMN stages.system IS 'System it belongs to; NULL for shared stages.';
COMMENT ON COLUMN stages."desc" IS 'What it does.';
COMMENT ON COLUMN stages.cmd IS 'Command.';
COMMENT ON COLUMN stages.deps IS 'Paths it reads.';
COMMENT ON COLUMN stages.outs IS 'Paths it writes, metrics and plots included.';
COMMENT ON COLUMN stages.params IS 'Parameters it depends on: keys of params.yaml, those of another file as file:key.';
COMMENT ON COLUMN stages.in_lock IS 'Whether dvc.lock records a run of this command.';

CREATE TABLE stage_files (
    stage VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    md5 VARCHAR,
    bytes BIGINT
);
COMMENT ON TABLE stage_files IS 'One row a path that a stage reads or writes, with what dvc.lock records of it.';
COMMENT ON COLUMN stage_files.stage IS 'Stage.';
COMMENT ON COLUMN stage_files.kind IS 'dep or out.';
COMMENT ON COLUMN stage_files.path IS 'Path from the project''s root.';
COMMENT ON COLUMN stage_files.md5 IS 'Hash; ends in .dir for a folder; NULL when not in dvc.lock.';
COMMENT ON COLUMN stage_files.bytes IS 'Size; NULL when not in dvc.lock.';

CREATE TABLE runs (
    system VARCHAR NOT NULL,
    profile VARCHAR NOT NULL,
    started TIMESTAMP,
    seconds DOUBLE,
    device VARCHAR,
    dtype VARCHAR,
    peak_memory_mb DOUBLE,
    tokens_per_second DOUBLE,
    versions VARCHAR,
    info VARCHAR
);
COMMENT ON TABLE runs IS 'One row a run that made the recorded results: when, where, how long. From run.json.';
COMMENT ON COLUMN runs.system IS 'System.';
COMMENT ON COLUMN runs.profile IS 'small or full.';
COMMENT ON COLUMN runs.started IS 'Start of the evaluation, UTC.';
COMMENT ON COLUMN runs.seconds IS 'Duration.';
COMMENT ON COLUMN runs.device IS 'cpu or cuda, as torch names it.';
COMMENT ON COLUMN runs.dtype IS 'Number format of the weights.';
COMMENT ON COLUMN runs.peak_memory_mb IS 'Highest memory use, in megabytes.';
COMMENT ON COLUMN runs.tokens_per_second IS 'Tokens processed in a second.';
COMMENT ON COLUMN runs.versions IS 'Versions of Python and the libraries, as JSON.';
COMMENT ON COLUMN runs.info IS 'Everything else the run recorded, as JSON.';

CREATE TABLE params (
    system VARCHAR NOT NULL,
    profile VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    value VARCHAR NOT NULL
);
COMMENT ON TABLE params IS 'One row a parameter of a system. From stages/<system>/params.yaml.';
COMMENT ON COLUMN params.system IS 'System.';
COMMENT ON COLUMN params.profile IS 'small or full.';
COMMENT ON COLUMN params.key IS 'Key; dots join nested ones.';
COMMENT ON COLUMN params.value IS 'Value, as JSON.';

CREATE TABLE plots (
    system VARCHAR NOT NULL,
    profile VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    title VARCHAR NOT NULL,
    path VARCHAR NOT NULL
);
COMMENT ON TABLE plots IS 'One row a picture a system drew.';
COMMENT ON COLUMN plots.system IS 'System.';
COMMENT ON COLUMN plots.profile IS 'small or full.';
COMMENT ON COLUMN plots.name IS 'File name without its ending.';
COMMENT ON COLUMN plots.kind IS 'vega (Vega-Lite JSON) or png.';
COMMENT ON COLUMN plots.title IS 'Title.';
COMMENT ON COLUMN plots.path IS 'Path from the project''s root.';

CREATE TABLE queries (
    name VARCHAR PRIMARY KEY,
    title VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    sql VARCHAR NOT NULL
);
COMMENT ON TABLE queries IS 'Named queries to begin with. From catalog/database/queries.sql and stages/<system>/queries.sql.';
COMMENT ON COLUMN queries.name IS 'Identifier.';
COMMENT ON COLUMN queries.title IS 'Title.';
COMMENT ON COLUMN queries.description IS 'What it answers.';
COMMENT ON COLUMN queries.sql IS 'The query.';

CREATE VIEW comparison AS
SELECT
    c.system, c.profile, c.claim, c.claim = s.main_claim AS is_main, c.claimed_by, c.text, c.rule, c.verdict, c.metric, m.display_name, m.unit,
    c.reported, c.ours, c.ours_low, c.ours_high, c.n, c.against_name, c.against_kind, c.against, c.against_low, c.against_high,
    c.smallest_effect, r.model AS reported_model, r.dataset AS reported_dataset, c.where_printed, c.trust
FROM claims AS c
JOIN systems AS s USING (system)
LEFT JOIN metrics AS m USING (metric)
LEFT JOIN reported AS r ON r.system = c.system AND r.id = c.reported_id
ORDER BY s.sort_order, c.system, is_main DESC, c.claimed_by, c.position, c.profile DESC;
COMMENT ON VIEW comparison IS 'What the paper reported, what we measured and what a named comparator scores, in one row, for each claim and profile.';
COMMENT ON COLUMN comparison.system IS 'System.';
COMMENT ON COLUMN comparison.profile IS 'small or full.';
COMMENT ON COLUMN comparison.claim IS 'Claim.';
COMMENT ON COLUMN comparison.is_main IS 'Whether the claim stands for the paper on the overview.';
COMMENT ON COLUMN comparison.claimed_by IS 'paper, or project for a check of ours.';
COMMENT ON COLUMN comparison.text IS 'What is claimed.';
COMMENT ON COLUMN comparison.rule IS 'What must be true for it to hold.';
COMMENT ON COLUMN comparison.verdict IS 'holds, fails, undecided or not measured.';
COMMENT ON COLUMN comparison.metric IS 'Metric of the numbers.';
COMMENT ON COLUMN comparison.display_name IS 'Name of the metric shown to readers.';
COMMENT ON COLUMN comparison.unit IS 'Unit of the numbers.';
COMMENT ON COLUMN comparison.reported IS 'The paper''s number.';
COMMENT ON COLUMN comparison.ours IS 'Our number.';
COMMENT ON COLUMN comparison.ours_low IS 'Lower bound of its 95 % interval.';
COMMENT ON COLUMN comparison.ours_high IS 'Upper bound.';
COMMENT ON COLUMN comparison.n IS 'Items behind our number.';
COMMENT ON COLUMN comparison.against_name IS 'What our number is compared with.';
COMMENT ON COLUMN comparison.against_kind IS 'trivial, control, untreated, rival or end.';
COMMENT ON COLUMN comparison.against IS 'The number of what ours is compared with.';
COMMENT ON COLUMN comparison.against_low IS 'Lower bound of its 95 % interval.';
COMMENT ON COLUMN comparison.against_high IS 'Upper bound.';
COMMENT ON COLUMN comparison.smallest_effect IS 'Smallest effect that the first test could have seen.';
COMMENT ON COLUMN comparison.reported_model IS 'Model of the paper''s number.';
COMMENT ON COLUMN comparison.reported_dataset IS 'Data set of the paper''s number.';
COMMENT ON COLUMN comparison.where_printed IS 'Where the paper claims it.';
COMMENT ON COLUMN comparison.trust IS 'Who printed the reported number.';

CREATE VIEW leaderboard AS
WITH mean AS (
    SELECT
        system, profile, experiment, dataset, split, metric, model, method, avg(value) AS value,
        CASE WHEN count(*) = 1 THEN min(ci_low) END AS ci_low, CASE WHEN count(*) = 1 THEN max(ci_high) END AS ci_high,
        count(*) AS seeds, min(n) AS n
    FROM results
    GROUP BY ALL
)
SELECT
    rank() OVER (
        PARTITION BY system, profile, experiment, dataset, split, metric
        ORDER BY CASE WHEN lower_is_better THEN value ELSE -value END
    ) AS rank,
    mean.*
FROM mean
JOIN metrics USING (metric)
WHERE lower_is_better IS NOT NULL
ORDER BY system, profile, experiment, dataset, split, metric, rank, model, method;
COMMENT ON VIEW leaderboard
    IS 'Models and methods ranked on each metric that has a better direction, seeds averaged; rank 1 is the best.';
COMMENT ON COLUMN leaderboard.rank IS 'Place; equal values share one.';
COMMENT ON COLUMN leaderboard.system IS 'System.';
COMMENT ON COLUMN leaderboard.profile IS 'small or full.';
COMMENT ON COLUMN leaderboard.experiment IS 'Question of the paper.';
COMMENT ON COLUMN leaderboard.dataset IS 'Data set.';
COMMENT ON COLUMN leaderboard.split IS 'Part of the data set.';
COMMENT ON COLUMN leaderboard.metric IS 'Metric.';
COMMENT ON COLUMN leaderboard.model IS 'Model.';
COMMENT ON COLUMN leaderboard.method IS 'Method.';
COMMENT ON COLUMN leaderboard.value IS 'Mean over the seeds.';
COMMENT ON COLUMN leaderboard.ci_low IS 'Lower bound of the 95 % interval, with one seed.';
COMMENT ON COLUMN leaderboard.ci_high IS 'Upper bound of the 95 % interval, with one seed.';
COMMENT ON COLUMN leaderboard.seeds IS 'Number of seeds.';
COMMENT ON COLUMN leaderboard.n IS 'Items behind each value, the fewest over the seeds.';

CREATE VIEW lineage AS
WITH RECURSIVE edges AS (
    SELECT DISTINCT o.stage AS upstream, d.stage AS downstream
    FROM stage_files AS o
    JOIN stage_files AS d ON o.stage <> d.stage AND (
        o.path = d.path OR starts_with(d.path, o.path || '/') OR starts_with(o.path, d.path || '/')
    )
    WHERE o.kind = 'out' AND d.kind = 'dep'
), things AS (
    SELECT DISTINCT
        CASE
            WHEN starts_with(path, 'data/assets/') THEN 'asset'
            WHEN starts_with(path, 'data/') THEN 'dataset'
            ELSE 'model'
        END AS kind,
        regexp_extract(path, '^(?:data/assets|data|models)/([^/]+)', 1) AS name,
        stage
    FROM stage_files
    WHERE regexp_matches(path, '^(data|models)/') AND NOT ends_with(path, '/README.md')
), reached AS (
    SELECT kind, name, stage, 0 AS distance FROM things
    UNION
    SELECT r.kind, r.name, e.downstream, r.distance + 1 FROM reached AS r JOIN edges AS e ON e.upstream = r.stage
)
SELECT
    r.kind, r.name, r.stage, min(r.distance) AS distance, s.system,
    (SELECT count(*) FROM results AS x WHERE x.system = s.system) AS results
FROM reached AS r
JOIN stages AS s USING (stage)
WHERE s.system IS NOT NULL
GROUP BY r.kind, r.name, r.stage, s.system
ORDER BY r.kind, r.name, distance, r.stage;
COMMENT ON VIEW lineage
    IS 'What an asset, a data set or a model reaches: stages of systems, and how many results those have.';
COMMENT ON COLUMN lineage.kind IS 'asset, dataset or model.';
COMMENT ON COLUMN lineage.name IS 'Its name.';
COMMENT ON COLUMN lineage.stage IS 'A stage of a system that it reaches.';
COMMENT ON COLUMN lineage.distance IS 'Stages in between; 0 for a stage that reads or makes it.';
COMMENT ON COLUMN lineage.system IS 'System of the stage.';
COMMENT ON COLUMN lineage.results IS 'Number of results of that system, at all profiles.';
