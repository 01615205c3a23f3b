-- name: open_finllms_sharpe
-- title: Sharpe ratios of trading rules by period
-- description: Mean over shares with its interval, under the paper's script and in accounts, best first.
SELECT profile, period, execution, agent, model, hold, value AS sharpe, low, high, n AS days, shares
FROM open_finllms.contrasts
WHERE other IS NULL
ORDER BY profile, period, execution, sharpe DESC;

-- name: open_finllms_differences
-- title: What of trading differs beyond chance
-- description: Differences of Sharpe ratios on the same days whose 95 % interval leaves out 0, methods, executions and meanings of hold.
SELECT profile, period, agent, model, execution, hold, other, other_model, other_execution, other_hold, value AS difference, low, high, shares
FROM open_finllms.contrasts
WHERE other IS NOT NULL AND (low > 0 OR high < 0)
ORDER BY profile, period, abs(difference) DESC;

-- name: open_finllms_hold
-- title: What hold means
-- description: Sharpe ratios of the same decisions with hold as flat, as keep and as the agent's own book.
PIVOT (SELECT profile, period, asset, source, agent, model, returns, hold, sr FROM open_finllms.conventions WHERE agent <> 'buy and hold')
ON hold IN ('flat', 'keep', 'book') USING any_value(sr)
ORDER BY profile, period, agent, asset, source, returns;

-- name: open_finllms_table_12
-- title: Table 12 by arithmetic
-- description: The number of prices that each printed row implies, and rows that are the same.
SELECT profile, asset, agent, cr, sr, av, mdd, n AS prices, n_low, n_high, fits, same_as
FROM open_finllms.printed
ORDER BY profile, asset, agent;

-- name: open_finllms_trades
-- title: Trades of a share
-- description: What momentum-3 bought and sold of Nvidia after the release of the small models, in the account with fees.
SELECT profile, date, action, fill, price, before, after, traded, fee, wealth
FROM open_finllms.trades
WHERE period = 'after' AND agent = 'momentum-3'
ORDER BY profile, date;

-- name: open_finllms_forgetting
-- title: What pre-training teaches and forgets
-- description: Change of perplexity on the same held-out documents, each arm against the model before and against the other arms.
SELECT profile, part, arm, other, documents, value AS change, low, high
FROM open_finllms.perplexity_changes
WHERE counted = 'all'
ORDER BY profile, part, arm, other;

-- name: open_finllms_agent
-- title: The trading agent against simple methods
-- description: Sharpe ratio of the FinMem agent less that of each method on the same days, under the paper's script, by model and period.
SELECT profile, model, period, other, other_model, value AS difference, low, high, n AS days, shares
FROM open_finllms.contrasts
WHERE agent = 'FinMem agent' AND execution = 'finmem' AND hold = 'flat' AND other_execution = 'finmem'
ORDER BY profile, model, period, other, other_model;

-- name: open_finllms_agent_log
-- title: The trading agent's log
-- description: What the agent retrieved, read, decided and earned of Nvidia after the release of the small models.
SELECT profile, model, seed, date, price, retrieved, action, score_buy, score_hold, score_sell, position, r, prompt
FROM open_finllms.agent_days
WHERE period = 'after'
ORDER BY profile, model, seed, date;

-- name: open_finllms_charts
-- title: FinLLaVA on charts by kind of question
-- description: Shares of right answers to open questions, by FinLLaVA with its picture, another one and none, and by comparators without a model.
SELECT profile, split, kind, method, value, low, high, chance, n
FROM open_finllms.vision_scores
WHERE form = 'open' AND less IS NULL
ORDER BY profile, split DESC, kind, value DESC;
