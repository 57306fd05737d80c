"""What a statement compares, joins and sorts by, table by table; parsed by sqlglot, off the path of a request.

Each SELECT of a statement has tables of its own: two sides of a UNION may use one table under one name, and an index
for both conditions at once would serve neither. So what is read is kept block by block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from noa_perf.optimizer.plans import parsing
from noa_perf.optimizer.plans.names import TableName
from noa_perf.optimizer.plans.parsing import BLOCKS, COMPARISONS, bare, dialect, parsed, spelt

MAX_DEPTH = 8
"""Views on views, and derived tables in derived tables, that a column is followed through."""

_SUBPLAN = re.compile(r"\((?:hashed )?(?:SubPlan|InitPlan) [^()]*\)(?:\.col\d+)?|\(subquery#\d+\)")
_ANNOTATION = re.compile(r"<[a-z_]+>(?=\()")
"""MariaDB's and MySQL's marks before what is worked out once, or in another way: ``<cache>(1)``."""


@dataclass(slots=True)
class TableUse:
    """How one table (by its alias in one block of the statement) is used."""

    table: TableName
    alias: str
    equal: list[str] = field(default_factory=list)
    """Columns compared with one value, in the order of the statement."""
    listed: list[str] = field(default_factory=list)
    """Columns compared with a list of values."""
    ranged: list[str] = field(default_factory=list)
    """Columns compared by <, >, BETWEEN."""
    liked: list[str] = field(default_factory=list)
    """Columns compared by LIKE."""
    joined: list[str] = field(default_factory=list)
    """Columns compared with another table's."""
    wrapped: list[tuple[str, str]] = field(default_factory=list)
    """Columns hidden from an index by a function: (column, function)."""
    casts: list[tuple[str, str, str]] = field(default_factory=list)
    """Columns compared through a cast, which may hide them or not: (column, type, kind of comparison)."""
    wildcard: bool = False
    """Whether a pattern written into the statement starts with a wildcard."""
    followed: bool = False
    """Whether a comparison came here through a view or a derived table."""

    def compared(self) -> set[str]:
        """Return the columns that are compared with values."""
        through = {name for name, *_ in (*self.wrapped, *self.casts)}
        return {*self.equal, *self.listed, *self.ranged, *self.liked} | through


@dataclass(slots=True)
class Block:
    """One SELECT, UPDATE or DELETE of a statement."""

    tables: dict[str, TableUse] = field(default_factory=dict)
    """Its own tables by alias, without those of the blocks inside."""
    derived: dict[str, exp.Expr | None] = field(default_factory=dict)
    """Its derived tables and CTEs by alias; None where columns cannot be followed into one."""
    order: list[tuple[str, str, bool]] = field(default_factory=list)
    """ORDER BY as (alias, column, descending); empty where an expression is among them."""
    limited: bool = False
    answers: bool = False
    """Whether the rows that it selects are those that the statement returns, so that their number tells."""


@dataclass(slots=True)
class Uses:
    """How a statement uses its tables."""

    blocks: list[Block]
    """Outermost first, then in the order of the statement."""

    def tables(self) -> list[TableUse]:
        """Return the uses of all blocks."""
        return [use for block in self.blocks for use in block.tables.values()]


def uses_of(sql: str, vendor: str, views: Mapping[TableName, str] | None = None) -> Uses | None:
    """Return how ``sql`` uses its tables, or None where it cannot be parsed.

    ``views`` are the queries of the views that it names, where the plan will not tell of what is beneath them.
    """
    tree = parsed(parsing.positional(sql).replace("%s", "?"), vendor)
    if tree is None:
        return None
    for _ in range(MAX_DEPTH):
        if not views or not _expand(tree, views, vendor):
            break
    return Statement(tree, vendor).uses()


def use_of_condition(text: str, table: TableName, alias: str, vendor: str) -> TableUse | None:
    """Return how a condition of a plan, in the engine's words, uses the table known as ``alias``."""
    plain = _SUBPLAN.sub("NULL", _ANNOTATION.sub("", text))
    quoted = exp.to_identifier(alias, quoted=True).sql(dialect(vendor))
    tree = parsed(f"SELECT 1 FROM {quoted} WHERE {plain}", vendor)  # noqa: S608  (parsed, and never run)
    if tree is None:
        return None
    (block,) = Statement(tree, vendor).uses().blocks[:1]
    use = block.tables.get(alias)
    if use is not None:
        use.table = table
    return use


def _expand(tree: exp.Expr, views: Mapping[TableName, str], vendor: str) -> bool:
    """Write the query of each view in the place of its name; tell whether there was one."""
    found = False
    for table in list(tree.find_all(exp.Table)):
        query = next((text for name, text in views.items() if name.is_same(parsing.name(table, vendor))), None)
        body = parsed(query, vendor) if query and parsing.cte_of(table) is None else None
        if isinstance(body, exp.Query):
            table.replace(exp.Subquery(this=body, alias=exp.TableAlias(this=parsing.known_part(table).copy())))
            found = True
    return found


class Statement:
    """A parsed statement, read block by block."""

    def __init__(self, tree: exp.Expr, vendor: str) -> None:
        """Take the tree; nothing is read yet."""
        self.tree = tree
        self.vendor = vendor
        self.blocks = {id(node): Block() for node in tree.walk(bfs=False) if isinstance(node, BLOCKS)}

    def uses(self) -> Uses:
        """Read what each block does with its tables."""
        nodes = [node for node in self.tree.walk(bfs=False) if isinstance(node, BLOCKS)]
        for source in self.tree.find_all(exp.Table, exp.Subquery):
            self._note_source(source)
        for node in nodes:
            block = self.blocks[id(node)]
            block.order = self._order(node)
            block.limited = node.args.get("limit") is not None
            block.answers = self._answers(node)
        for comparison in self.tree.find_all(*COMPARISONS):
            if parsing.is_required(comparison):
                self._note(comparison)
        return Uses(list(self.blocks.values()))

    def _note_source(self, source: exp.Expr) -> None:
        owner = source.find_ancestor(*BLOCKS, exp.Insert)
        block = self.blocks.get(id(owner))
        if block is None:
            return  # an INSERT reads nothing of what it writes to
        if isinstance(source, exp.Subquery):
            if isinstance(source.parent, (exp.From, exp.Join)) and source.alias:
                block.derived[spelt(source.args["alias"].this, self.vendor)] = source.this
            return
        cte = parsing.cte_of(source)
        alias = spelt(parsing.known_part(source), self.vendor)
        if cte is not None:
            block.derived[alias] = parsing.only_reader(cte, self.tree)
        elif source.name:
            table = parsing.name(source, self.vendor)
            known = block.tables.setdefault(alias, TableUse(table, alias))
            if known.table != table:  # two of one name, in two schemas
                block.tables.setdefault(str(table), TableUse(table, alias))

    def _answers(self, node: exp.Expr) -> bool:
        # The sides of a UNION bring at most what it returns, where nothing is cut off.
        above, parts = node, [node]
        while isinstance(above.parent, exp.SetOperation):
            above = above.parent
            parts.append(above)
        if above is not self.tree or any(part.args.get("limit") is not None for part in parts):
            return False
        return not (isinstance(node, exp.Select) and any(one.find(exp.AggFunc) for one in node.expressions))

    def _order(self, node: exp.Expr) -> list[tuple[str, str, bool]]:
        clause = node.args.get("order")
        keys: list[tuple[str, str, bool]] = []
        for ordered in clause.expressions if clause is not None else ():
            found = self.use_of(ordered.this) if isinstance(ordered.this, exp.Column) else None
            if found is None:
                return []
            keys.append((found[0].alias, found[1], bool(ordered.args.get("desc"))))
        return keys

    def _note(self, node: exp.Expr) -> None:
        left, right = bare(node.this), node.args.get("expression")
        right = bare(right) if isinstance(right, exp.Expr) else None
        if isinstance(left, exp.Column) and isinstance(right, exp.Column):
            self._note_join(left, right)
            return
        kind = _comparison_kind(node)
        cast = left if isinstance(left, exp.Cast) else None
        column = bare(cast.this) if cast is not None else left
        plain = isinstance(column, exp.Column)
        found = self.use_of(column if plain else left.find(exp.Column)) if not left.find(exp.Select) else None
        if found is None:
            return
        use, name = found
        others = self._uses_in(right)
        if any(other is use for other in others):
            return  # a comparison within a row: no index finds that
        if not plain:
            use.wrapped.append((name, _function_name(left)))
            _add(use.liked, name, when=kind == "liked")
        elif others:
            _add(use.joined, name)
        elif cast is not None:
            use.casts.append((name, cast.to.sql(dialect(self.vendor)).lower(), kind))
        else:
            _add(getattr(use, kind), name)
        use.wildcard = use.wildcard or (kind == "liked" and _starts_with_wildcard(right))

    def _uses_in(self, value: exp.Expr | None) -> list[TableUse | None]:
        """Return the uses of tables whose columns are in ``value``; None for one that belongs to no table here."""
        columns = value.find_all(exp.Column) if value is not None else ()
        found = [(self.use_of(column), column.table) for column in columns]
        return [use[0] if use is not None else None for use, table in found if use is not None or table]

    def _note_join(self, left: exp.Column, right: exp.Column) -> None:
        one, other = self.use_of(left), self.use_of(right)
        if one is not None and other is not None and one[0] is other[0]:
            return
        for found in (one, other):
            if found is not None:
                _add(found[0].joined, found[1])

    def use_of(self, column: exp.Expr | None, depth: int = 0) -> tuple[TableUse, str] | None:
        """Return the table whose column this is, and its name there."""
        if column is None:
            return None
        owner = column.find_ancestor(*BLOCKS)
        part = column.args.get("table")
        alias = spelt(part, self.vendor) if part is not None else ""
        while owner is not None:
            block = self.blocks[id(owner)]
            known = _known_in(block, alias, column.text("db"))
            if known in block.tables:
                return block.tables[known], spelt(column.this, self.vendor)
            if known in block.derived:
                return self._followed(block.derived[known], spelt(column.this, self.vendor), depth)
            owner = owner.find_ancestor(*BLOCKS) if alias else None
        return None

    def _followed(self, query: exp.Expr | None, name: str, depth: int) -> tuple[TableUse, str] | None:
        """Return the table and the column behind a derived table's column ``name``, if it is a plain one."""
        if not isinstance(query, exp.Select) or depth > MAX_DEPTH or parsing.condenses(query):
            return None
        found = None
        for shown in query.expressions:
            inner = shown.unalias()
            if isinstance(inner, exp.Star) or (isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star)):
                found = found or self._behind_star(query, name, depth)
            elif shown.alias_or_name.lower() == name.lower() and isinstance(inner, exp.Column):
                found = self.use_of(inner, depth + 1)
        if found is not None:
            found[0].followed = True
        return found

    def _behind_star(self, query: exp.Select, name: str, depth: int) -> tuple[TableUse, str] | None:
        block = self.blocks[id(query)]
        if len(block.tables) + len(block.derived) != 1:
            return None
        if block.tables:
            return next(iter(block.tables.values())), name
        return self._followed(next(iter(block.derived.values())), name, depth + 1)


def _known_in(block: Block, alias: str, schema: str) -> str:
    sources = [*block.tables, *block.derived]
    if not alias and len(sources) == 1:
        # An UPDATE or DELETE names its columns alone; with one table there is no doubt whose they are.
        return sources[0]
    return f"{schema}.{alias}" if f"{schema}.{alias}" in block.tables else alias


def _comparison_kind(node: exp.Expr) -> str:
    if isinstance(node, exp.In) or isinstance(node.args.get("expression"), exp.Any):
        return "listed"
    if isinstance(node, (exp.Like, exp.ILike)):
        return "liked"
    return "equal" if isinstance(node, (exp.EQ, exp.Is)) else "ranged"


def _starts_with_wildcard(pattern: exp.Expr | None) -> bool:
    literal = pattern.find(exp.Literal) if pattern is not None else None
    return literal is not None and literal.name.startswith(("%", "_")) and len(literal.name) > 1


def _function_name(node: exp.Expr) -> str:
    return str(node.name) if isinstance(node, exp.Anonymous) else node.key


def _add(columns: list[str], name: str, *, when: bool = True) -> None:
    if when and name not in columns:
        columns.append(name)
