"""What a statement compares, joins and sorts by, table by table; parsed by sqlglot, off the path of a request.

Each SELECT of a statement has tables of its own: two sides of a UNION may use one table under one name, and an index
for both conditions at once would serve neither. So what is read is kept block by block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp

from noa_perf.optimizer.plans.names import TableName

MAX_DEPTH = 8
"""Views on views, and derived tables in derived tables, that a column is followed through."""

_NAMED = re.compile(r"%\(\w+\)s")
_SUBPLAN = re.compile(r"\((?:hashed )?(?:SubPlan|InitPlan) [^()]*\)(?:\.col\d+)?")
_DIALECTS = {"sqlite": "sqlite", "postgresql": "postgres", "mysql": "mysql", "oracle": "oracle"}
_BLOCKS = (exp.Select, exp.Update, exp.Delete)
_COMPARISONS = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In, exp.Like, exp.ILike, exp.Is)


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
    tree = _parsed(_NAMED.sub("?", sql.replace("%s", "?")), vendor)
    if tree is None:
        return None
    for _ in range(MAX_DEPTH):
        if not views or not _expand(tree, views, vendor):
            break
    return _Statement(tree, vendor).uses()


def use_of_condition(text: str, table: TableName, alias: str, vendor: str) -> TableUse | None:
    """Return how a condition of a plan, in the engine's words, uses the table known as ``alias``."""
    plain = _SUBPLAN.sub("NULL", text)
    quoted = exp.to_identifier(alias, quoted=True).sql(_DIALECTS.get(vendor, ""))
    tree = _parsed(f"SELECT 1 FROM {quoted} WHERE {plain}", vendor)  # noqa: S608  (parsed, and never run)
    if tree is None:
        return None
    (block,) = _Statement(tree, vendor).uses().blocks[:1]
    use = block.tables.get(alias)
    if use is not None:
        use.table = table
    return use


def is_single(sql: str, vendor: str) -> bool:
    """Tell whether ``sql`` is one statement, and nothing stands behind it: EXPLAIN would run what does."""
    try:
        found = sqlglot.parse(_NAMED.sub("?", sql.replace("%s", "?")), read=_DIALECTS.get(vendor, ""))
    except (sqlglot.errors.SqlglotError, RecursionError):
        # What sqlglot cannot read may still be one statement: then no semicolon stands outside its end.
        return ";" not in sql.strip().rstrip(";")
    return len([one for one in found if one is not None]) == 1


def _parsed(sql: str, vendor: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(sql, read=_DIALECTS.get(vendor, ""))
    except (sqlglot.errors.SqlglotError, RecursionError):
        return None


def _expand(tree: exp.Expr, views: Mapping[TableName, str], vendor: str) -> bool:
    """Write the query of each view in the place of its name; tell whether there was one."""
    found = False
    for table in list(tree.find_all(exp.Table)):
        query = next((text for name, text in views.items() if name.is_same(_name(table, vendor))), None)
        body = _parsed(query, vendor) if query and _cte_of(table) is None else None
        if isinstance(body, exp.Query):
            table.replace(exp.Subquery(this=body, alias=exp.TableAlias(this=_known_part(table).copy())))
            found = True
    return found


class _Statement:
    """A parsed statement, read block by block."""

    def __init__(self, tree: exp.Expr, vendor: str) -> None:
        self.tree = tree
        self.vendor = vendor
        self.blocks = {id(node): Block() for node in tree.walk(bfs=False) if isinstance(node, _BLOCKS)}

    def uses(self) -> Uses:
        nodes = [node for node in self.tree.walk(bfs=False) if isinstance(node, _BLOCKS)]
        for source in self.tree.find_all(exp.Table, exp.Subquery):
            self._note_source(source)
        for node in nodes:
            block = self.blocks[id(node)]
            block.order = self._order(node)
            block.limited = node.args.get("limit") is not None
            block.answers = self._answers(node)
        for comparison in self.tree.find_all(*_COMPARISONS):
            if _is_required(comparison):
                self._note(comparison)
        return Uses(list(self.blocks.values()))

    def _note_source(self, source: exp.Expr) -> None:
        owner = source.find_ancestor(*_BLOCKS, exp.Insert)
        block = self.blocks.get(id(owner))
        if block is None:
            return  # an INSERT reads nothing of what it writes to
        if isinstance(source, exp.Subquery):
            if isinstance(source.parent, (exp.From, exp.Join)) and source.alias:
                block.derived[_spelt(source.args["alias"].this, self.vendor)] = source.this
            return
        cte = _cte_of(source)
        alias = _spelt(_known_part(source), self.vendor)
        if cte is not None:
            block.derived[alias] = _only_reader(cte, self.tree)
        elif source.name:
            table = _name(source, self.vendor)
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
            found = self._use_of(ordered.this) if isinstance(ordered.this, exp.Column) else None
            if found is None:
                return []
            keys.append((found[0].alias, found[1], bool(ordered.args.get("desc"))))
        return keys

    def _note(self, node: exp.Expr) -> None:
        left, right = _bare(node.this), node.args.get("expression")
        right = _bare(right) if isinstance(right, exp.Expr) else None
        if isinstance(left, exp.Column) and isinstance(right, exp.Column):
            self._note_join(left, right)
            return
        kind = _comparison_kind(node)
        cast = left if isinstance(left, exp.Cast) else None
        column = _bare(cast.this) if cast is not None else left
        if not isinstance(column, exp.Column):
            self._note_wrapped(left)
            return
        found = self._use_of(column)
        if found is None:
            return
        use, name = found
        if right is not None and self._is_of_another(right, use):
            _add(use.joined, name)
        elif cast is not None:
            use.casts.append((name, cast.to.sql(_DIALECTS.get(self.vendor, "")).lower(), kind))
        else:
            _add(getattr(use, kind), name)
        use.wildcard = use.wildcard or (kind == "liked" and _starts_with_wildcard(right))

    def _is_of_another(self, value: exp.Expr, use: TableUse) -> bool:
        for column in value.find_all(exp.Column):
            found = self._use_of(column)
            if found[0] is not use if found is not None else column.table:
                return True
        return False

    def _note_join(self, left: exp.Column, right: exp.Column) -> None:
        one, other = self._use_of(left), self._use_of(right)
        if one is not None and other is not None and one[0] is other[0]:
            return  # two columns of one row: no index finds that
        for found in (one, other):
            if found is not None:
                _add(found[0].joined, found[1])

    def _note_wrapped(self, left: exp.Expr) -> None:
        inner = left.find(exp.Column)
        found = self._use_of(inner) if inner is not None and not left.find(exp.Select) else None
        if found is not None:
            found[0].wrapped.append((found[1], _function_name(left)))

    def _use_of(self, column: exp.Column, depth: int = 0) -> tuple[TableUse, str] | None:
        """Return the table whose column this is, and its name there."""
        owner = column.find_ancestor(*_BLOCKS)
        part = column.args.get("table")
        alias = _spelt(part, self.vendor) if part is not None else ""
        while owner is not None:
            block = self.blocks[id(owner)]
            known = _known_in(block, alias, column.text("db"))
            if known in block.tables:
                return block.tables[known], _spelt(column.this, self.vendor)
            if known in block.derived:
                return self._followed(block.derived[known], _spelt(column.this, self.vendor), depth)
            owner = owner.find_ancestor(*_BLOCKS) if alias else None
        return None

    def _followed(self, query: exp.Expr | None, name: str, depth: int) -> tuple[TableUse, str] | None:
        """Return the table and the column behind a derived table's column ``name``, if it is a plain one."""
        if not isinstance(query, exp.Select) or depth > MAX_DEPTH or _condenses(query):
            return None
        found = None
        for shown in query.expressions:
            inner = shown.unalias()
            if isinstance(inner, exp.Star) or (isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star)):
                found = found or self._behind_star(query, name, depth)
            elif shown.alias_or_name.lower() == name.lower() and isinstance(inner, exp.Column):
                found = self._use_of(inner, depth + 1)
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


def _cte_of(table: exp.Expr) -> exp.Expr | None:
    """Return the CTE that ``table`` names, if it names one."""
    above = table.parent
    while above is not None:
        clause = above.args.get("with_") or above.args.get("with")
        for cte in reversed(_visible(clause, table) if isinstance(clause, exp.With) else []):
            if cte.alias.lower() == table.name.lower() and not table.args.get("db"):
                return cte
        above = above.parent
    return None


def _visible(clause: exp.With, table: exp.Expr) -> list[exp.CTE]:
    """Return the CTEs that stand before ``table``, and its own where they are recursive."""
    seen: list[exp.CTE] = []
    inside = {id(one) for one in _ancestors(table)}
    for cte in clause.expressions:
        if id(cte) in inside:
            return [*seen, cte] if clause.args.get("recursive") else seen
        seen.append(cte)
    return seen


def _ancestors(node: exp.Expr) -> Iterator[exp.Expr]:
    above = node.parent
    while above is not None:
        yield above
        above = above.parent


def _only_reader(cte: exp.Expr, tree: exp.Expr) -> exp.Expr | None:
    """Return the query of a CTE that conditions reach: it is read once, and not kept as a table of its own."""
    readers = [table for table in tree.find_all(exp.Table) if _cte_of(table) is cte]
    query: exp.Expr = cte.this
    return query if len(readers) == 1 and not cte.args.get("materialized") else None


def _condenses(query: exp.Select) -> bool:
    """Tell whether a condition on its rows is none on the rows that it reads."""
    if any(query.args.get(key) is not None for key in ("group", "distinct", "limit", "offset", "having")):
        return True
    return any(one.find(exp.AggFunc, exp.Window) is not None for one in query.expressions)


def _name(table: exp.Expr, vendor: str) -> TableName:
    schema = table.args.get("db")
    return TableName(_spelt(table.this, vendor), _spelt(schema, vendor) if schema is not None else "")


def _known_part(table: exp.Expr) -> exp.Expr:
    alias = table.args.get("alias")
    part: exp.Expr = alias.this if alias is not None and alias.this is not None else table.this
    return part


def _spelt(part: exp.Expr, vendor: str) -> str:
    """Return a name as the database knows it."""
    # PostgreSQL lowers a name without quotes, and its plans say it so: Django's T2 and U0 become t2 and u0.
    return part.name.lower() if vendor == "postgresql" and not part.args.get("quoted") else str(part.name)


def _is_required(node: exp.Expr) -> bool:
    """Tell whether every row has to meet this comparison: it stands in WHERE or ON, under no OR, NOT or CASE."""
    for above in _ancestors(node):
        if isinstance(above, (exp.Where, exp.Join)):
            return True
        if isinstance(above, (exp.Or, exp.Not, exp.Case, *_BLOCKS)):
            return False
    return False


def _bare(node: exp.Expr) -> exp.Expr:
    """Return what stands in parentheses, and before ESCAPE."""
    while isinstance(node, (exp.Paren, exp.Escape)):
        node = node.this
    return node


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


def _add(columns: list[str], name: str) -> None:
    if name not in columns:
        columns.append(name)
