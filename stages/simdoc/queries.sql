-- name: simdoc_systems
-- title: Every simplifier beside rules that learn nothing
-- description: D-SARI in both forms, SARI, the grade and likeness to the source, best D-SARI first; the reference is the ceiling.
SELECT profile, source_level, target_level, system, setting, coherence_mode, dsari, dsari_robust, sari_f1, sari_p, fkgl, meaning, coherence, compression
FROM simdoc.main
ORDER BY profile, source_level, target_level, dsari DESC;

-- name: simdoc_facts
-- title: Numbers and names made up
-- description: Mean number of new numbers and names of a document, and numbers kept and lost, by system.
SELECT profile, source_level, target_level, system, numbers_kept, numbers_lost, numbers_new, names_new, content_new, repetition
FROM simdoc.operations
ORDER BY profile, source_level, target_level, numbers_new DESC, system;

-- name: simdoc_texts
-- title: Simplified documents to read
-- description: What each model wrote for each test document, with its scores. The texts may be wrong.
SELECT p.profile, p.id, p.source_level, p.target_level, p.system, d.dsari, d.fkgl, d.numbers_new, p.output
FROM simdoc.predictions AS p
JOIN simdoc.documents AS d USING (profile, source_level, target_level, system, id)
ORDER BY p.profile, p.id, p.source_level, p.target_level, d.dsari DESC
LIMIT 200;

-- name: simdoc_differences
-- title: What differs beyond chance
-- description: Differences of two systems on the same documents whose 95 % interval leaves out 0.
SELECT profile, source_level, target_level, system, against, metric, difference, low, high
FROM simdoc.differences
WHERE low > 0 OR high < 0
ORDER BY profile, source_level, target_level, metric, difference DESC;
