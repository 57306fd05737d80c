"""Every kind of finding: what it says, and on which database it can be seen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Seen(Enum):
    """Whether a kind can be seen on a database."""

    YES = "yes"
    ANALYZED = "with ANALYZE"
    UNTRIED = "untried"
    NO = "–"


ENGINES = ("PostgreSQL", "MariaDB", "MySQL", "SQLite")
"""The databases whose plans are read. No server of MySQL could be had: its plans are parsed from documented samples."""

YES, ANALYZED, UNTRIED, NO = Seen.YES, Seen.ANALYZED, Seen.UNTRIED, Seen.NO
EVERYWHERE = (YES, YES, YES, YES)
"""Needs no plan."""
PLANNED = (YES, YES, UNTRIED, YES)
ON_SERVERS = (YES, YES, UNTRIED, NO)
RUN = (ANALYZED, ANALYZED, NO, NO)
"""Needs what came beside what was expected."""
RUN_ON_POSTGRESQL = (ANALYZED, NO, NO, NO)


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of finding."""

    meaning: str
    seen: tuple[Seen, Seen, Seen, Seen]
    """On each of :data:`ENGINES`."""


CATALOGUE: dict[str, Entry] = {
    "n_plus_one": Entry("One query for each row of another.", EVERYWHERE),
    "write_loop": Entry("Rows written one by one, where one statement would do.", EVERYWHERE),
    "duplicate": Entry("The same statement with the same values, and nothing written in between.", EVERYWHERE),
    "len_for_count": Entry("Rows fetched only to be counted.", EVERYWHERE),
    "bool_for_exists": Entry("Rows fetched only to see whether there is one.", EVERYWHERE),
    "values_would_do": Entry("Whole objects built for one or two columns.", EVERYWHERE),
    "unread_columns": Entry("Wide text fetched and, it seems, never read. Always a guess.", EVERYWHERE),
    "slow_query": Entry("Runs over `SLOW_QUERY_MS`, or a p95 over it.", EVERYWHERE),
    "full_scan": Entry("A whole table read for a few of its rows.", PLANNED),
    "sort_without_index": Entry("Rows sorted at each run to return the first few.", PLANNED),
    "automatic_index": Entry("An index built at each run, and thrown away.", (NO, NO, NO, YES)),
    "function_hides_index": Entry("A function or cast around a column, so that no index serves it.", PLANNED),
    "leading_wildcard": Entry("A LIKE pattern that starts with a wildcard.", PLANNED),
    "deep_offset": Entry("An OFFSET that reads and throws away many rows.", PLANNED),
    "row_misestimate": Entry("Ten times more or fewer rows than the planner expected; a hundred is grave.", RUN),
    "sort_spill": Entry("A sort that went to disk.", RUN),
    "hash_spill": Entry("A hash that went to disk.", RUN_ON_POSTGRESQL),
    "nested_loop": Entry("A nested loop whose inner side reads much, many times.", ON_SERVERS),
    "filter_removes_most": Entry("An index that finds rows of which the filter leaves few.", RUN),
    "few_of_many": Entry("An index that finds many rows, of which the statement returns few.", RUN),
    "lossy_bitmap": Entry(
        "A bitmap that did not fit into memory, so that blocks are checked row by row.", RUN_ON_POSTGRESQL
    ),
    "jit_overhead": Entry("Compiling the statement took much of its time.", RUN_ON_POSTGRESQL),
    "stale_statistics": Entry("Statistics older than a fifth of the table's rows.", ON_SERVERS),
    "more_queries": Entry("`perf_gate`: an endpoint runs more queries than its baseline says.", EVERYWHERE),
    "new_n_plus_one": Entry("`perf_gate`: an N+1 that the baseline does not know.", EVERYWHERE),
    "endpoint_fails": Entry("`perf_gate`: an endpoint that answered before.", EVERYWHERE),
    "endpoint_gone": Entry("`perf_gate`: an endpoint of the baseline that is no address of the site now.", EVERYWHERE),
    "lost_index": Entry(
        "`perf_gate`: rows looked up by an index before, and now by reading all of one, or of the table.", PLANNED
    ),
}
