"""Statements that a page for free SQL must survive: each ends in rows or in one sentence, in time and within memory.

`ENDLESS` ones run for minutes or for ever, `HUNGRY` ones ask for gigabytes, `OTHERS` end at once, whatever they try,
and the values of `EXOTIC` ones have types that a table of a page cannot hold.
"""

LONG = "repeat('ab', 100000)"
DEEP = 20_000

ENDLESS = {
    "recursive CTE without end": (
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t"
    ),
    "cross join": "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = 7",
    "join by inequality": (
        "SELECT count(*) FROM range(3000000) a JOIN range(3000000) b ON a.range < b.range AND a.range % 7 > b.range % 5"
    ),
    "explain analyze": (
        "EXPLAIN ANALYZE SELECT count(*) FROM range(10000000000) a, range(10000000) b WHERE a.range = -b.range - 1"
    ),
    "levenshtein": f"SELECT levenshtein({LONG}, repeat('ba', 100000))",
    "damerau": f"SELECT damerau_levenshtein({LONG}, repeat('ba', 100000))",
    "regular expressions": (
        "SELECT count(*) FROM range(100000000) WHERE regexp_matches(repeat('a', 200) || range, '(a*)*b$')"
    ),
    "sum of a list in a loop": "SELECT sum(list_sum(range(100000 + range))) FROM range(10000000)",
    "summarize": "SUMMARIZE SELECT random() AS a FROM range(10000000000)",
    "sleep": "SELECT sleep_ms(100000)",
}

HUNGRY = {
    "a text of a gigabyte": "SELECT length(repeat('x', 1000000000))",
    "a list of two milliards": "SELECT list_sum(range(2000000000))",
    "generate_series as a list": "SELECT len(generate_series(1, 1000000000))",
    "sorted list": "SELECT list_sort(list(range)) FROM range(200000000)",
    "string_agg": "SELECT length(string_agg(repeat('x', 1000), ',')) FROM range(3000000)",
    "list of lists": "SELECT len(list(range(1000))) FROM range(10000000)",
    "list_aggregate": "SELECT list_aggregate(range(900000000), 'string_agg', ',')",
    "sorted range": "SELECT * FROM range(1000000000) ORDER BY hash(range)",
    "window over a product": "SELECT max(x) FROM (SELECT row_number() OVER (ORDER BY a.range + b.range) AS x"
    " FROM range(100000) a, range(10000) b)",
    "unnest": "SELECT count(DISTINCT u) FROM (SELECT unnest(range(1000000)) + range * 1000000 AS u FROM range(1000))",
    "one cell of 100 MB in a list": "SELECT [repeat('x', 100000000)] AS cell",
    "map of everything": "SELECT map(list(range), list(range)) FROM range(50000000)",
    "concatenation of cells": "SELECT repeat('x', 90000) FROM range(5000)",
    "rpad": "SELECT length(rpad('x', 2000000000, 'y'))",
    "printf": "SELECT length(format('{:>2000000000}', 'x'))",
    "bit string": "SELECT bit_count(bitstring('1', 2000000000))",
    "blob": "SELECT octet_length(repeat('x', 700000000)::BLOB || repeat('y', 700000000)::BLOB)",
    "pivot": "PIVOT (SELECT range AS r FROM range(100000)) ON r USING count(*)",
    "power of a big number": "SELECT length((repeat('9', 400000)::BIGNUM)::VARCHAR)",
}

OTHERS = {
    "300,000 values in IN": f"SELECT count(*) FROM range(10) WHERE range IN ({','.join(map(str, range(300_000)))})",
    "20,000 values in IN": f"SELECT count(*) FROM range(10) WHERE range IN ({','.join(map(str, range(20_000)))})",
    "deep parentheses": f"SELECT {'(' * DEEP}1{')' * DEEP}",
    "deep CASE": f"SELECT {'CASE WHEN true THEN ' * DEEP}1{' END' * DEEP}",
    "deep subqueries": f"SELECT * FROM {'(SELECT * FROM ' * 2000}range(1){')' * 2000}",
    "deep list": f"SELECT {'[' * DEEP}1{']' * DEEP}",
    "long sum": f"SELECT {'1 + ' * 50_000}1",
    "long union": " UNION ALL ".join(["SELECT 1"] * 5_000),
    "many NOT": f"SELECT {'NOT ' * DEEP}true",
    "huge number": f"SELECT {'9' * 400_000}",
    "long literal": f"SELECT '{'x' * 900_000}'",
    "statement of 5 MB": f"SELECT '{'x' * 5_000_000}'",
    "10,000 columns": f"SELECT {', '.join(f'{n} AS c{n}' for n in range(10_000))}",
    "900 columns with one name": f"SELECT {', '.join(['1 AS a'] * 900)}",
    "ten million rows": "SELECT * FROM range(10000000)",
    "one cell of 10 MB": "SELECT repeat('x', 10000000) AS cell",
    "one cell of 100 MB": "SELECT repeat('x', 100000000) AS cell",
    "regular expression": f"SELECT regexp_matches({LONG}, '((a+)+)+$')",
    "nested repetition": "SELECT regexp_replace('x', '((((a{1,100}){1,100}){1,100}){1,100})', '')",
    "jaccard": f"SELECT jaccard({LONG}, {LONG}) AS j",
    "COPY": "COPY claims TO '/tmp/x.csv'",
    "ATTACH": "ATTACH '/tmp/other.duckdb' AS other",
    "INSTALL": "INSTALL httpfs",
    "LOAD": "LOAD httpfs",
    "SET": "SET memory_limit = '100GB'",
    "RESET": "RESET memory_limit",
    "PRAGMA memory": "PRAGMA memory_limit = '100GB'",
    "PRAGMA profiling": "PRAGMA enable_profiling",
    "CALL": "CALL pragma_version()",
    "EXPORT": "EXPORT DATABASE '/tmp/exported'",
    "IMPORT": "IMPORT DATABASE '/tmp/exported'",
    "CHECKPOINT": "CHECKPOINT",
    "VACUUM": "VACUUM",
    "BEGIN": "BEGIN",
    "PREPARE": "PREPARE p AS SELECT 1",
    "EXECUTE": "EXECUTE p",
    "CREATE MACRO": "CREATE TEMP MACRO m() AS 1",
    "USE": "USE system",
    "EXPLAIN ANALYZE DELETE": "EXPLAIN ANALYZE DELETE FROM claims",
    "read_text": "SELECT * FROM read_text('/etc/passwd')",
    "read_csv": "SELECT * FROM read_csv('/etc/passwd')",
    "read_blob": "SELECT * FROM read_blob('/proc/self/environ')",
    "read_parquet by http": "SELECT * FROM 'https://example.org/x.parquet'",
    "glob": "SELECT * FROM glob('/*')",
    "file as a table": "SELECT * FROM '/etc/passwd'",
    "variable of the process": "SELECT * FROM request",
    "getenv": "SELECT getenv('HOME')",
    "getvariable": "SELECT getvariable('HOME')",
    "query of text": "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "secrets": "SELECT * FROM duckdb_secrets()",
    "extensions": "SELECT * FROM duckdb_extensions()",
    "several statements": "SELECT 1; DROP TABLE claims",
    "numbered parameter": "SELECT $1",
    "question mark": "SELECT ?",
    "comments only": "-- nothing\n/* at all */",
    "nothing": "",
    "semicolons": ";;;",
    "NUL": "SELECT 1 \0 AS n",
    "NUL in a text": "SELECT 'a\0b' AS \"n\0m\"",
    "lone surrogate": "SELECT '\ud83d'",
    "right-to-left marks": "SELECT '\u202eabc\u202c' AS \"\u202ename\", '\u200f' AS \"\u200f\"",
    "open quote": "SELECT 'abc",
    "open comment": "SELECT 1 /* abc",
    "dollar quote": "SELECT $tag$ it's $tag$ AS t",
    "no such sleep": "SELECT sleep(100)",
    "error function": "SELECT error('/etc/passwd\n\nLINE 1: x')",
    "division and overflow": "SELECT 170141183460469231731687303715884105727::HUGEINT + 1",
}

EXOTIC = {
    "union": "SELECT union_value(a := 1) AS u",
    "infinity": "SELECT TIMESTAMP 'infinity' AS t, DATE '-infinity' AS d, TIMESTAMPTZ 'infinity' AS z",
    "far dates": "SELECT DATE '200000-01-01' AS late, DATE '4000-01-01 (BC)' AS early, TIMESTAMP '290000-01-01' AS t",
    "finer and coarser times": (
        "SELECT TIMESTAMP_NS '2020-01-01' AS n, TIMESTAMP_S '99999-01-01' AS s, TIMESTAMP_MS '1970-01-01' AS m"
    ),
    "times": "SELECT TIME '24:00:00' AS a, TIMETZ '10:00:00+15:59' AS b, INTERVAL '1 month -3 days' AS c, now() AS d",
    "blob, bit, uuid": "SELECT '\\xFF\\x00'::BLOB AS b, '0101'::BIT AS i, uuid() AS u",
    "big numbers": "SELECT (-170141183460469231731687303715884105727)::HUGEINT AS h,"
    " 340282366920938463463374607431768211455::UHUGEINT AS u, 18446744073709551615::UBIGINT AS b,"
    " 123456789012345678901234567890123456789012345::BIGNUM AS n",
    "decimals": "SELECT 99999999999999999999999999999999999999::DECIMAL(38, 0) AS a,"
    " -0.00000000000000000000000000000000000001::DECIMAL(38, 38) AS b, 1.5 AS c",
    "floats": "SELECT 'nan'::DOUBLE AS a, 'inf'::FLOAT AS b, '-inf'::DOUBLE AS c, 1e308 AS d, 5e-324 AS e",
    "nested": (
        "SELECT MAP {'a': [1, 2]} AS m, {'a': {'b': [{'c': DATE 'infinity'}]}} AS s, [[1], NULL, []] AS l, [1,"
        " 2]::INT[2] AS f"
    ),
    "enum, json, variant": (
        "SELECT 'x'::ENUM('x', 'y') AS e, '{\"a\": 1}'::JSON AS j, {'a': 1}::VARIANT AS v, row(1, 'a') AS r"
    ),
    "geometry": "SELECT 'POINT(1 2)'::GEOMETRY AS g",
    "null": "SELECT NULL AS n, NULL::INTERVAL AS i, NULL::HUGEINT AS h",
    "names": 'SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS " ", 5 AS "_index", 6 AS "=1+1",'
    ' 7 AS "a\nb", 8 AS "__index_level_0__", 9 AS "A"',
    "no rows": "SELECT TIMESTAMP 'infinity' AS t, 1::HUGEINT AS h, 'x' AS x WHERE false",
    "formulas": "SELECT '=1+1' AS \"@a\", '\t=1' AS \"-b\", '+1' AS \"+c\"",
    "types": "SELECT typeof(1), pg_typeof(1), {'a': 1}.a",
    "types themselves": "SELECT get_type(1) AS t",
}
