-- Named queries on the general tables. Each runs on an empty catalog too. A system's own stand in stages/<system>/queries.sql.

-- name: main_claims
-- title: Main claim of each paper
-- description: What the paper reported, what we measured and what a named comparator scores, in one row a system and profile.
SELECT system, profile, text, display_name AS metric, reported, ours, ours_low, ours_high, n, against_name, against, verdict
FROM comparison
WHERE is_main;

-- name: ledger
-- title: Every claim and its verdict
-- description: Claims of the papers first, then checks of ours; the rule is what must be true for a claim to hold.
SELECT claimed_by, system, profile, claim, verdict, rule, ours, ours_low, ours_high, n, against_name, against, smallest_effect
FROM comparison
ORDER BY claimed_by, system, profile, claim;

-- name: undecided_claims
-- title: What this experiment cannot tell
-- description: Tests whose interval holds the bound, with the smallest effect they could have seen; more items would narrow it.
SELECT system, profile, claim, says, relation, bound, value, low, high, n, smallest_effect
FROM claim_tests
WHERE verdict = 'undecided'
ORDER BY system, profile, claim, position;

-- name: failed_claims
-- title: Claims that our measurements contradict
-- description: Claims of the papers of which one test has its whole interval on the wrong side of its bound.
SELECT system, profile, claim, text, reported, ours, ours_low, ours_high, against_name, against, where_printed
FROM comparison
WHERE verdict = 'fails' AND claimed_by = 'paper';

-- name: claims_by_system
-- title: Verdicts by system
-- description: How many claims of the papers hold, fail or stay undecided, and the same of our own checks.
SELECT
    system,
    profile,
    claimed_by,
    count(*) FILTER (verdict = 'holds') AS hold,
    count(*) FILTER (verdict = 'fails') AS fail,
    count(*) FILTER (verdict = 'undecided') AS undecided,
    count(*) FILTER (verdict = 'not measured') AS not_measured
FROM claims
GROUP BY system, profile, claimed_by
ORDER BY claimed_by, system, profile;

-- name: close_to_paper
-- title: How close our numbers come to the paper's
-- description: Claims with a reported number, by the size of the difference relative to it.
SELECT
    system,
    profile,
    claim,
    metric,
    reported,
    ours,
    ours - reported AS difference,
    (ours - reported) / nullif(abs(reported), 0) AS relative_difference
FROM claims
WHERE reported IS NOT NULL AND ours IS NOT NULL
ORDER BY abs(relative_difference) NULLS LAST, system, profile, claim;

-- name: beats_comparator
-- title: Is the method better than what it is compared with?
-- description: Our number against that of the claim's comparator, in the better direction of the metric; the intervals decide.
SELECT
    c.system,
    c.profile,
    c.claim,
    c.metric,
    c.ours,
    c.against_name,
    c.against_kind,
    c.against,
    CASE WHEN m.lower_is_better THEN c.ours < c.against ELSE c.ours > c.against END AS better
FROM claims AS c
JOIN metrics AS m USING (metric)
WHERE c.ours IS NOT NULL AND c.against IS NOT NULL AND m.lower_is_better IS NOT NULL
ORDER BY c.system, c.profile, c.claim;

-- name: best_methods
-- title: Best method on each metric
-- description: First place of the leaderboard, with its interval.
SELECT system, profile, experiment, dataset, metric, model, method, value, ci_low, ci_high, n
FROM leaderboard
WHERE rank = 1
ORDER BY system, profile, experiment, dataset, metric, model, method;

-- name: scales
-- title: Small against full
-- description: Numbers that were measured at both profiles with the same experiment, data set, method and metric, seeds averaged.
SELECT
    s.system,
    s.experiment,
    s.dataset,
    s.method,
    s.metric,
    s.model AS small_model,
    avg(s.value) AS small,
    f.model AS full_model,
    avg(f.value) AS "full"
FROM results AS s
JOIN results AS f
    ON s.system = f.system AND s.experiment = f.experiment AND s.dataset IS NOT DISTINCT FROM f.dataset AND s.method = f.method
    AND s.metric = f.metric AND s.split = f.split
WHERE s.profile = 'small' AND f.profile = 'full'
GROUP BY ALL
ORDER BY ALL;

-- name: widest_intervals
-- title: Numbers to trust least
-- description: Results with the widest 95 % interval relative to their value, which more items would narrow.
SELECT system, profile, experiment, model, method, metric, value, ci_low, ci_high, n, ci_high - ci_low AS width
FROM results
WHERE ci_low IS NOT NULL
ORDER BY width / nullif(abs(value), 0) DESC NULLS LAST, system, profile, experiment, model, method, metric
LIMIT 50;

-- name: run_times
-- title: What the runs cost
-- description: Duration, memory and device of each recorded run.
SELECT system, profile, round(seconds / 60, 1) AS minutes, peak_memory_mb, tokens_per_second, device, dtype, started
FROM runs
ORDER BY seconds DESC NULLS LAST, system, profile;

-- name: dataset_sizes
-- title: Data sets and their files
-- description: Rows and size of every built table, with its licence and where it came from.
SELECT d.dataset, d.pretty_name, d.license, d.source, f.profile, f.path, f.rows, round(f.bytes / 1e6, 3) AS megabytes
FROM datasets AS d
LEFT JOIN dataset_files AS f USING (dataset)
ORDER BY d.dataset, f.profile, f.path;

-- name: model_sizes
-- title: Models and their files
-- description: Parameters and size of every folder of weights, with its licence and what it was made from.
SELECT
    m.model, m.kind, m.base_model, m.license, f.profile, f.path, coalesce(f.parameters, m.parameters) AS parameters,
    round(f.bytes / 1e6, 1) AS megabytes
FROM models AS m
LEFT JOIN model_files AS f USING (model)
ORDER BY m.model, f.profile, f.path;

-- name: used_by
-- title: Who uses which data set and model
-- description: Systems that share a data set or a model.
SELECT kind, name, count(DISTINCT system) AS systems, string_agg(DISTINCT system, ', ' ORDER BY system) AS used_by
FROM uses
GROUP BY kind, name
ORDER BY systems DESC, kind, name;

-- name: reach_of_assets
-- title: What an asset, a data set or a model reaches
-- description: Stages that must run again when it changes, and how many results those systems have.
SELECT kind, name, stage, distance, system, results
FROM lineage
ORDER BY kind, name, distance, stage;

-- name: parameters_by_profile
-- title: Parameters, small beside full
-- description: Each parameter of each system at both profiles, those that differ first.
SELECT
    system,
    key,
    any_value(value) FILTER (profile = 'small') AS small,
    any_value(value) FILTER (profile = 'full') AS "full",
    small IS DISTINCT FROM "full" AS differs
FROM params
GROUP BY system, key
ORDER BY differs DESC, system, key;

-- name: not_run
-- title: Stages that have not run
-- description: Stages of the present profile that dvc.lock does not record.
SELECT stage, system, "desc", cmd
FROM stages
WHERE NOT in_lock
ORDER BY stage;

-- name: columns_and_comments
-- title: Every table and column
-- description: The schema of this database, with a comment on each column.
SELECT schema_name, table_name, column_name, data_type, comment
FROM duckdb_columns()
WHERE NOT internal
ORDER BY schema_name, table_name, column_index;
