-- name: harmonic_trade
-- title: Usefulness against privacy
-- description: Mean MCC of classifiers trained on each release, beside the membership attack by distance (0.5 gives nothing away) and copies.
SELECT u.profile, u."table", u.method, avg(u.mcc) AS mcc, any_value(p.auc) AS membership_auc, any_value(p.closer) AS closer_to_train, any_value(p.copies) AS copy_rate
FROM harmonic.utility AS u
LEFT JOIN (
    SELECT profile, "table", method, avg(auc) AS auc, avg(closer_to_train) AS closer, avg(copy_rate) AS copies
    FROM harmonic.privacy GROUP BY ALL
) AS p USING (profile, "table", method)
WHERE u.protocol = 'strict'
GROUP BY u.profile, u."table", u.method
ORDER BY u.profile, u."table", mcc DESC;

-- name: harmonic_leakage
-- title: What the generators remember
-- description: Nats a token of seen and unseen rows, the gap with its interval, and the membership attack on likelihoods.
SELECT profile, "table", generator, form, n, nll_train, nll_holdout, nll_gap, nll_gap_low, nll_gap_high, auc, auc_low, auc_high, dlt_paper
FROM harmonic.dlt
ORDER BY profile, "table", generator, form;

-- name: harmonic_rows
-- title: Synthetic rows and the nearest real ones
-- description: Rows of the reported release with their distance to the nearest training and holdout row, the nearest first.
SELECT s.profile, s."table", s.method, s.number, s."row", d.to_train, d.to_holdout
FROM harmonic.synthetic AS s
JOIN harmonic.distances AS d USING (profile, "table", method, number)
ORDER BY d.to_train, s."table", s.method, s.number
LIMIT 200;

-- name: harmonic_contrasts
-- title: What the claims rest on
-- description: Differences of two methods on the same items, by table and over all tables, with their intervals.
SELECT profile, measure, method, other, over, "table", value, low, high, n
FROM harmonic.contrasts
WHERE over <> 'mean'
ORDER BY profile, measure, method, other, over, "table";
