"""The written files of the demo project: cards, parameters, pipeline, lock and queries."""

HEADS_CARD = """---
name: demo_heads
title: Heads of a demo model
paper: {title: A demo of heads, arxiv: "2401.00001", venue: DemoConf 2024, repository: demo/heads}
summary: Finds the attention heads that a demo task needs.
task: mechanistic interpretability
datasets: [demo_sums]
models: [demo_base]
main_claim: few-heads
order: 1
---
# Heads of a demo model

A demo of what a card's text looks like: `head_ablation` removes one head at a time.

| step | what |
|---|---|
| 1 | remove a head |
| 2 | measure the accuracy |
"""

TEXT_CARD = """---
name: demo_text
title: Texts of a demo model
paper: {title: A demo of texts, arxiv: null, venue: null, repository: null}
summary: Trains a demo model to write letters.
task: alignment
datasets: [demo_letters]
models: [demo_base, demo_tuned]
main_claim: lower-loss
order: 2
sensitive: true
---
# Texts of a demo model

Its outputs may offend.
"""

HEADS_CLAIMS = """parameters:
  wanted: {small: top heads, full: top heads}
reported:
  - {id: top_drop, model: Demo-7B, dataset: demo_sums, method: top heads, metric: accuracy_drop_rel, value: 0.5,
     where: Table 1, trust: paper}
  - {id: base_acc, model: Demo-7B, dataset: demo_sums, method: none, metric: accuracy, value: 0.9,
     where: Table 2, trust: paper, note: read off the printed table}
views:
  drops: FROM results WHERE metric = 'accuracy_drop_rel'
claims:
  few-heads:
    by: paper
    text: Removing few heads costs most of the accuracy.
    where: "§3"
    reported: top_drop
    metric: accuracy_drop_rel
    ours: SELECT value, ci_low, ci_high, n FROM drops WHERE method = $wanted
    against: {name: random heads, kind: control, value: "SELECT value, ci_low, ci_high, n FROM drops WHERE method = 'random heads'"}
    tests:
      - {says: more than a quarter of the accuracy goes, effect: ours, above: 0.25, bound_from: "ours: half of the printed drop"}
  solves-task:
    by: paper
    text: The untouched model solves the task.
    where: Table 2
    reported: base_acc
    metric: accuracy
    ours: SELECT value, ci_low, ci_high, n FROM results WHERE metric = 'accuracy'
    against: {name: a guess among ten digits, kind: trivial, value: "SELECT 0.1, 0.1, 0.1, 20"}
    tests:
      - {says: at least 85 % of the answers are right, effect: ours, at_least: 0.85, bound_from: "paper, Table 2"}
  late-layers:
    by: project
    text: The heads lie in late layers.
    reported: null
    metric: count
    exact: true
    ours: SELECT min(layer) FROM heads WHERE "drop" > 0.9
    against: null
    tests:
      - {says: no head below layer 2, effect: ours, at_least: 2, bound_from: "ours: the model has three layers"}
"""

HEADS_TABLES = """heads:
  description: Accuracy lost when one head is removed.
  key: [layer, head]
  columns:
    layer: {int: "Layer, from 0."}
    head: {int: "Head, from 0."}
    drop: {float: "Accuracy drop, relative."}
"""

HEADS_METRICS = """accuracy_drop_rel:
  display_name: Accuracy drop (relative)
  description: Accuracy lost, as a share of the accuracy before.
  unit: share
  lower_is_better: false
  range: [-1, 1]
"""

TEXT_CLAIMS = """reported: []
claims:
  lower-loss:
    by: paper
    text: Tuning lowers the loss.
    where: abstract
    reported: null
    metric: loss
    ours: SELECT avg(value), min(value), max(value), count(*) FROM results WHERE method = 'tuned'
    against: {name: the model before, kind: untreated, value: "SELECT value, value, value, 1 FROM results WHERE method = 'none'"}
    tests:
      - says: below that of the model before
        effect: >-
          SELECT avg(t.value - b.value), min(t.value - b.value), max(t.value - b.value), count(*)
          FROM results AS t, results AS b WHERE t.method = 'tuned' AND b.method = 'none'
        below: 0
"""

TEXT_TABLES = """outputs:
  description: What the model wrote.
  key: [prompt]
  columns:
    prompt: {string: Text given to the model.}
    generation: {string: "Text the model wrote, untrusted."}
"""

TEXT_METRICS = """letter_rate:
  display_name: Letters
  description: Share of what the model wrote that is a letter.
  unit: share
  lower_is_better: false
  range: [0, 1]
"""

DATA_CARDS = {
    "demo_sums": """---
name: demo_sums
pretty_name: Demo sums
summary: Sums of two digits.
license: Apache-2.0
language: [en]
task_categories: [text-generation]
size_categories: ["n<1K"]
source: generated
made_by: demo_heads_data
system: demo_heads
columns: {prompt: The sum to solve., answer: Its result.}
---
# Demo sums
""",
    "demo_letters": """---
name: demo_letters
pretty_name: Demo letters
summary: Letters in order.
license: CC-BY-4.0
language: en
task_categories: [text-generation]
size_categories: ["n<1K"]
source: "asset: demo_file"
made_by: demo_text_data
system: demo_text
---
# Demo letters
""",
}

MODEL_CARDS = {
    "demo_base": """---
name: demo_base
summary: A demo language model of two layers.
license: Apache-2.0
base_model: null
library_name: transformers
parameters: 24
kind: base
system: null
---
# Demo base
""",
    "demo_tuned": """---
name: demo_tuned
summary: The demo model tuned on letters.
license: Apache-2.0
base_model: demo_base
library_name: peft
parameters: 6
kind: lora
system: demo_text
---
# Demo tuned
""",
}

PARAMS = """profile: small
launch: python
seed: 0
device: auto
dtype: auto
assets:
  demo_file: {licence: Apache-2.0, file: demo.txt}
models:
  demo_base: {asset: demo_file}
hub_models: {}
"""

HEADS_PARAMS = """small: {items: 20, ratios: [0.1, 0.5], lora: {rank: 2, targets: [q, v]}}
full: {items: 2000, ratios: [0.1, 0.5], lora: {rank: 32, targets: [q, v]}}
"""

TEXT_PARAMS = """small: {steps: 2}
full: {steps: 200}
"""

DVC = """stages:
  fetch:
    foreach: ${assets}
    do:
      desc: "Fetch asset ${key}: ${item.file}"
      cmd: python -m stages.fetch ${key}
      deps: [stages/fetch.py]
      params: ["assets.${key}"]
      outs:
        - data/assets/${key}: {persist: true}
  model:
    foreach: ${models}
    do:
      desc: Convert base model ${key}
      cmd: python -m stages.base_model ${key}
      deps: ["data/assets/${item.asset}"]
      outs: ["models/${key}/base"]
  demo_heads_data:
    desc: Make the sums
    cmd: python -m stages.demo_heads.dataset ${profile}
    params: [{stages/demo_heads/params.yaml: ["${profile}"]}]
    outs: ["data/demo_sums/${profile}"]
  demo_heads:
    desc: Remove heads and measure
    cmd: python -m stages.demo_heads.evaluate ${profile}
    deps: ["data/demo_sums/${profile}", models/demo_base/base]
    params: [{stages/demo_heads/params.yaml: ["${profile}"]}, seed]
    outs:
      - reports/demo_heads/${profile}/results.parquet: {cache: false}
      - reports/demo_heads/${profile}/tables: {cache: false}
      - reports/demo_heads/${profile}/run.json: {cache: false, persist: true}
    plots:
      - reports/demo_heads/${profile}/plots: {cache: false}
  demo_text_train:
    desc: Tune on letters
    cmd: ${launch} -m stages.demo_text.train ${profile}
    deps: [data/assets/demo_file, models/demo_base/base]
    params: [{stages/demo_text/params.yaml: ["${profile}"]}]
    outs: ["models/demo_tuned/${profile}"]
  demo_text:
    desc: Measure the loss
    cmd: python -m stages.demo_text.evaluate ${profile}
    deps: ["models/demo_tuned/${profile}", models/demo_base/base]
    outs:
      - reports/demo_text/${profile}/results.parquet: {cache: false}
  catalog:
    desc: Gather all reports
    cmd: python -m stages.build_catalog
    deps: [reports/demo_heads, reports/demo_text, data/demo_sums/README.md]
    outs:
      - catalog.json: {cache: false}
    metrics:
      - reports/catalog/metrics: {cache: false}
"""

LOCK = """schema: '2.0'
stages:
  fetch@demo_file:
    cmd: python -m stages.fetch demo_file
    deps:
    - {path: stages/fetch.py, hash: md5, md5: '11111111111111111111111111111111', size: 10}
    outs:
    - {path: data/assets/demo_file, hash: md5, md5: 22222222222222222222222222222222.dir, size: 20, nfiles: 1}
  model@demo_base:
    cmd: python -m stages.base_model demo_base
    deps:
    - {path: data/assets/demo_file, hash: md5, md5: 22222222222222222222222222222222.dir, size: 20, nfiles: 1}
    outs:
    - {path: models/demo_base/base, hash: md5, md5: 33333333333333333333333333333333.dir, size: 30, nfiles: 1}
  demo_heads_data:
    cmd: python -m stages.demo_heads.dataset small
    outs:
    - {path: data/demo_sums/small, hash: md5, md5: 44444444444444444444444444444444.dir, size: 40, nfiles: 1}
  demo_text_train:
    cmd: python -m stages.demo_text.train small
    outs:
    - {path: models/demo_tuned/small.run.json, hash: md5, md5: '66666666666666666666666666666666', size: 60}
    - {path: models/demo_tuned/small, hash: md5, md5: 55555555555555555555555555555555.dir, size: 50, nfiles: 1}
"""

HEADS_QUERIES = """-- name: demo_worst_heads
-- title: Heads that matter most
-- description: Heads by the accuracy lost without them.
SELECT profile, layer, head, "drop" FROM demo_heads.heads ORDER BY "drop" DESC, profile, layer, head;
"""
