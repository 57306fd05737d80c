"""Every kind of finding: what it says, and on which database it can be seen."""

from __future__ import annotations

from dataclasses import dataclass

EVERYWHERE = "every database"
PLANS = ("PostgreSQL", "SQLite")
ANALYZED = "PostgreSQL, with ANALYZE"


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of finding."""

    meaning: str
    engines: tuple[str, ...]


CATALOGUE: dict[str, Entry] = {
    "n_plus_one": Entry("One query for each row of another.", (EVERYWHERE,)),
    "write_loop": Entry("Rows written one by one, where one statement would do.", (EVERYWHERE,)),
    "duplicate": Entry("The same statement with the same values, and nothing written in between.", (EVERYWHERE,)),
    "len_for_count": Entry("Rows fetched only to be counted.", (EVERYWHERE,)),
    "bool_for_exists": Entry("Rows fetched only to see whether there is one.", (EVERYWHERE,)),
    "values_would_do": Entry("Whole objects built for one or two columns.", (EVERYWHERE,)),
    "unread_columns": Entry("Wide text fetched and, it seems, never read. Always a guess.", (EVERYWHERE,)),
    "slow_query": Entry("Runs over `SLOW_QUERY_MS`, or a p95 over it.", (EVERYWHERE,)),
    "full_scan": Entry("A whole table read for a few of its rows.", PLANS),
    "sort_without_index": Entry("Rows sorted at each run to return the first few.", PLANS),
    "automatic_index": Entry("An index built at each run, and thrown away.", ("SQLite",)),
    "function_hides_index": Entry("A function or cast around a column, so that no index serves it.", PLANS),
    "leading_wildcard": Entry("A LIKE pattern that starts with a wildcard.", PLANS),
    "deep_offset": Entry("An OFFSET that reads and throws away many rows.", PLANS),
    "row_misestimate": Entry(
        "Ten times more or fewer rows than the planner expected; a hundred is grave.", (ANALYZED,)
    ),
    "sort_spill": Entry("A sort that went to disk.", (ANALYZED,)),
    "hash_spill": Entry("A hash that went to disk.", (ANALYZED,)),
    "nested_loop": Entry("A nested loop whose inner side reads much, many times.", ("PostgreSQL",)),
    "filter_removes_most": Entry("An index that finds rows of which the filter leaves few.", (ANALYZED,)),
    "few_of_many": Entry("An index that finds many rows, of which the statement returns few.", (ANALYZED,)),
    "lossy_bitmap": Entry("A bitmap that did not fit into memory, so that blocks are checked row by row.", (ANALYZED,)),
    "jit_overhead": Entry("Compiling the statement took much of its time.", (ANALYZED,)),
    "stale_statistics": Entry("Statistics older than a fifth of the table's rows.", ("PostgreSQL",)),
}
