"""The named SQL: all of it is used, all of it runs, and what workers hammer uses its index."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import holdfast.store
from helpers.databases import fresh_store
from holdfast.store import queries

FOLDER = Path(holdfast.store.__file__).parent
QUERIES = {name: sql.replace("@", "") for name, sql in queries.load("sqlite").items()}
BY_ITSELF = {"vacuum_live"}  # in no transaction: carried out in test_upkeep
SQLITE_ALONE = {"durability"}
QUEUED = 50_000
VERBS = {"execute", "many", "row", "rows", "each"}


@pytest.fixture(scope="module")
def big_store(template, tmp_path_factory):
    """A store with 50,000 queued and 50,000 scheduled runs."""
    store = fresh_store(template, tmp_path_factory.mktemp("big"))
    store.database.write(
        lambda tx: tx.script([FILL.format(state=state) for state in ("queued", "scheduled")])
    )
    store.database.write(lambda tx: tx.script(["ANALYZE"]))
    yield store
    store.close()


FILL = f"""
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {QUEUED})
INSERT INTO live (run_id, task, queue, priority, state, shared, due_at, concurrency_limit)
SELECT '{{state}}-' || n, 'shop.send', 'default', n % 200 - 100, '{{state}}', 0, n, 1 FROM number
"""


def constants():
    """Every text in the source of the store."""
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def used_names():
    """The names of queries that the source of the store asks for."""
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = node.args and isinstance(node.args[0], ast.Constant)
                owner = node.func.value
                if named and node.func.attr in VERBS and getattr(owner, "id", "") == "tx":
                    yield node.args[0].value


def plan(store, name):
    """How the database carries out a query, line by line."""
    values = dict.fromkeys(re.findall(r":(\w+)", QUERIES[name]), 0)
    database = store.log_database if belongs_to_logs(name) else store.database
    with database.transaction() as tx:
        text, bind, _ = database.dialect.adapt(QUERIES[name])
        rows = tx._connection.execute(f"EXPLAIN QUERY PLAN {text}", bind(values))
        return [row[3] for row in rows]


def belongs_to_logs(name):
    files = [f for noun in ("logs", "upkeep") for f in (FOLDER / "sql").glob(f"*/{noun}.sql")]
    return any(f"-- name: {name}\n" in file.read_text() for file in files)


def test_every_query_is_used():
    assert set() == set(QUERIES) - set(constants())


def test_every_used_query_is_there():
    used = set(used_names())

    assert used
    assert set() == used - set(QUERIES) - set(queries.load("postgres"))


def test_no_query_stands_twice_in_one_folder():
    for folder in (FOLDER / "sql").iterdir():
        found = [name for file in folder.iterdir() for name in queries.parse(file.read_text())]

        assert sorted(set(found)) == sorted(found)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_can_be_carried_out(store, name):
    plan(store, name)


@pytest.mark.only("postgres")
@pytest.mark.parametrize("name", sorted(set(queries.load("postgres")) - SQLITE_ALONE - BY_ITSELF))
def test_a_query_can_be_carried_out_by_postgresql(store, name):
    text = queries.load("postgres")[name]
    with store.database.transaction() as tx:
        asked = re.findall(r"(?<!:):([a-z_]+)", text)
        sql, _, copy = store.database.dialect.adapt(text)
        if copy is not None:
            with tx._connection.cursor().copy(sql):
                return
        prefix = "" if sql.startswith("CREATE") else "EXPLAIN "
        values = dict.fromkeys(asked) | {"size": 0, "short": 0, "run_ids": []}
        assert tx._connection.execute(prefix + sql, values)


@pytest.mark.only("mysql")
@pytest.mark.parametrize("name", sorted(set(queries.load("mysql")) - {"lock_schema"}))
def test_a_query_can_be_carried_out_by_mariadb(store, name):
    text = queries.load("mysql")[name]
    with store.database.transaction() as tx:
        asked = re.findall(r"(?<!:):([a-z_]+)", text)
        sql = store.database.dialect.adapt(text).text
        prefix = "" if sql.startswith("CREATE") else "EXPLAIN "
        values = dict.fromkeys(asked, 0) | {"run_ids": [""]}
        assert tx._connection.execute(prefix + sql, values)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_keeps_to_what_every_database_understands(name):
    assert not re.search(r"\bRETURNING\b|::|\bGLOB\b|\bILIKE\b", QUERIES[name])


LISTS = [
    name
    for name, sql in QUERIES.items()
    if sql.startswith("SELECT") and re.search(r"\bORDER BY\b|\bLIMIT\b", sql)
]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_an_order_and_an_end(name):
    bounded = "LIMIT" in QUERIES[name] or name == "attempts_of_run"  # bounded by its budgets

    assert bounded
    assert "ORDER BY" in QUERIES[name] or name in {"waiting_before", "ids_with_ending"}


@pytest.mark.only("sqlite")
def test_a_claim_reads_its_index_in_order_with_50_000_runs_queued(big_store):
    lines = plan(big_store, "claim_candidates")

    assert any("live_claim_idx" in line for line in lines)
    assert not any("TEMP B-TREE" in line or "SCAN" in line for line in lines)


@pytest.mark.only("sqlite")
def test_promotion_reads_its_index_with_50_000_runs_scheduled(big_store):
    for name in ("promote_candidates", "next_due"):
        lines = plan(big_store, name)

        assert any("live_due_idx" in line for line in lines)
        assert not any("TEMP B-TREE" in line for line in lines)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    "name",
    [
        "claim",
        "claim_all",
        "end_live",
        "end_all_live",
        "return_live",
        "end_run",
        "insert_attempt",
        "held_by_worker",
        "cancel_requests",
        "running_with_key",
        "blocked_with_key",
        "first_of_key",
        "block_all",
        "next_key_with_blocked",
        "live_run_with_dedupe_key",
        "run_by_id",
        "cancel_waiting",
        "beat",
    ],
)
def test_a_statement_of_every_run_or_every_second_scans_no_table(big_store, name):
    lines = [line for line in plan(big_store, name) if "json_each" not in line]  # a list of ours

    assert not any(line.startswith("SCAN") for line in lines)


@pytest.mark.only("sqlite")
def test_the_cost_of_a_claim_does_not_grow_with_the_queue(big_store, template, tmp_path):
    small = fresh_store(template, tmp_path)
    small.database.write(lambda tx: tx.script([FILL.format(state="queued").replace("50000", "50")]))
    small.database.write(lambda tx: tx.script(["ANALYZE"]))

    assert steps_to_find_runs(big_store) <= 1.2 * steps_to_find_runs(small)


def steps_to_find_runs(store):
    """How many instructions SQLite's machine needs to find ten runs to claim."""
    steps = [0]

    def step():
        steps[0] += 1

    with store.database.transaction() as tx:
        tx.script([RUNS])
        tx._connection.set_progress_handler(step, 1)
        found = tx.rows("claim_candidates", queue="default", task="shop.send", shared=0, limit=10)
        tx._connection.set_progress_handler(None, 0)
        assert 10 == len(found)
    return steps[0]


RUNS = """
INSERT OR IGNORE INTO run (run_id, task, queue, priority, arguments, options, created_at,
                           concurrency_limit)
SELECT run_id, task, queue, priority, '', '', 0, 1 FROM live
"""
