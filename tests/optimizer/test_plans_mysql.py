"""MySQL's plans into the same tree, from documents: there is no server of it to be had."""

from __future__ import annotations

from typing import Any

import pytest

from noa_perf.optimizer.plans import mariadb
from noa_perf.optimizer.plans.tree import Plan, Step


def shape(plan: Plan) -> list[tuple[Any, ...]]:
    return [(node.step, node.table, node.index, node.repeated) for node in plan.walk()]


def table(name: str, access: str = "ALL", **more: Any) -> dict[str, Any]:
    """Return a table as the manual shows it: numbers are numbers, shares and costs are text."""
    plain = {"table_name": name, "access_type": access, "rows_examined_per_scan": 1000, "rows_produced_per_join": 100}
    return {"table": {**plain, "filtered": "10.00", "cost_info": {"prefix_cost": "101.25"}, **more}}


def block(number: int = 1, **inside: Any) -> dict[str, Any]:
    return {"query_block": {"select_id": number, "cost_info": {"query_cost": "101.25"}, **inside}}


def test_a_scan_with_a_condition():
    (node,) = mariadb.parse(block(**table("b", attached_condition="(`shop`.`b`.`title` = 't7')"))).walk()

    assert (node.step, node.table, node.rows, node.cost) == (Step.SCAN, "b", 100, 101.25)
    assert node.filter == "(`shop`.`b`.`title` = 't7')"


def test_no_estimate_of_a_condition_is_none():
    (node,) = mariadb.parse(block(**table("b", filtered="100.00", attached_condition="(`b`.`x` = 1)"))).walk()

    assert node.rows is None


def test_a_sort_is_told_from_an_order_that_is_there_already():
    by_index = {"using_filesort": False, **table("b", "index", key="PRIMARY")}
    sorted_rows = {"using_filesort": True, **table("b")}

    assert shape(mariadb.parse(block(ordering_operation=by_index))) == [(Step.INDEX_SCAN, "b", "PRIMARY", False)]
    assert [node.step for node in mariadb.parse(block(ordering_operation=sorted_rows)).walk()] == [Step.SORT, Step.SCAN]


def test_joins_groups_and_subqueries():
    inner = table("c", "eq_ref", key="PRIMARY", used_key_parts=["id"], ref=["shop.b.author_id"])
    plan = mariadb.parse(
        block(
            grouping_operation={"using_temporary_table": True, "nested_loop": [table("b"), inner]},
            select_list_subqueries=[{"dependent": True, "cacheable": False, **block(2, **table("d"))}],
            optimized_away_subqueries=[{"dependent": False, "cacheable": True, **block(3, **table("e"))}],
        )
    )

    assert shape(plan) == [
        (Step.GROUP, "", "", False),
        (Step.NESTED_LOOP, "", "", False),
        (Step.SCAN, "b", "", False),
        (Step.SEARCH, "c", "PRIMARY", True),
        (Step.SUBQUERY, "", "", True),
        (Step.SCAN, "d", "", True),
        (Step.SUBQUERY, "", "", False),
        (Step.SCAN, "e", "", False),
    ]
    assert next(node for node in plan.walk() if node.table == "c").condition == "id = shop.b.author_id"


def test_a_union_and_a_derived_table():
    derived = table("x", materialized_from_subquery={"using_temporary_table": True, **block(3, **table("c"))})
    union = block(union_result={"query_specifications": [block(1, **table("b")), block(2, **derived)]})

    assert [node.table for node in mariadb.parse(union).walk() if node.step is Step.SCAN] == ["b", "x", "c"]


def test_the_manuals_message():
    (node,) = mariadb.parse(block(message="No tables used", table={"message": "Impossible WHERE"})).walk()

    assert (node.step, node.detail) == (Step.OTHER, "Impossible WHERE")


FILTERED = {
    "operation": "Filter: (country.`Code` like 'A%')",
    "access_type": "filter",
    "condition": "(country.`Code` like 'A%')",
    "estimated_rows": 17.0,
    "inputs": [
        {
            "operation": "Table scan on country",
            "table_name": "country",
            "schema_name": "world",
            "access_type": "table",
            "estimated_rows": 239.0,
            "estimated_total_cost": 25.4,
        }
    ],
}


@pytest.mark.parametrize("document", [FILTERED, {"query": "...", "query_plan": FILTERED, "json_schema_version": "2.0"}])
def test_the_second_form_has_the_filter_around_the_scan(document):
    (node,) = mariadb.parse(document).walk()

    assert (node.step, node.table, node.schema, node.rows) == (Step.SCAN, "country", "world", 17)
    assert (node.filter, node.detail) == ("(country.`Code` like 'A%')", "Table scan on country")


def test_the_second_form_with_what_came():
    looked_up = {
        "operation": "Covering index lookup on o using by_customer (customer_id=c.id)",
        "alias": "o",
        "table_name": "orders",
        "schema_name": "shop",
        "index_name": "by_customer",
        "access_type": "index",
        "index_access_type": "index_lookup",
        "lookup_condition": "customer_id=c.id",
        "actual_rows": 2.5,
        "actual_loops": 4,
        "actual_last_row_ms": 0.5,
        "estimated_rows": 3.0,
    }
    scanned = {
        "operation": "Covering index scan on c using PRIMARY",
        "alias": "c",
        "index_name": "PRIMARY",
        "access_type": "index",
        "index_access_type": "index_scan",
        "actual_rows": 4.0,
        "actual_loops": 1,
    }
    join = {"operation": "Nested loop inner join", "access_type": "join", "inputs": [scanned, looked_up]}
    plan = mariadb.parse({"operation": "Limit: 3 row(s)", "actual_rows": 3.0, "actual_loops": 1, "inputs": [join]})

    assert plan.analyzed
    assert shape(plan) == [
        (Step.LIMIT, "", "", False),
        (Step.NESTED_LOOP, "", "", False),
        (Step.INDEX_SCAN, "c", "PRIMARY", False),
        (Step.SEARCH, "o", "by_customer", True),
    ]
    last = list(plan.walk())[-1]
    assert (last.relation, last.actual, last.loops, last.ms) == ("orders", 2.5, 4, 2)
