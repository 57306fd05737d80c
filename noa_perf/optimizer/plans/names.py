"""The name of a table with its schema, and the model that is kept in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.apps import apps

_DOT_IN_QUOTES = re.compile(r'["`]\.["`]')


@dataclass(frozen=True, slots=True)
class TableName:
    """A table, in a schema (MariaDB: a database) where one is named."""

    name: str
    schema: str = ""
    """Empty: wherever the search path finds it."""

    @classmethod
    def of_db_table(cls, written: str) -> TableName:
        """Return the name behind a model's ``db_table``, which may hold a schema: ``sales"."order``."""
        *schema, name = _DOT_IN_QUOTES.split(written.strip('"`'))
        return cls(name, schema[0] if schema else "")

    def is_same(self, other: TableName) -> bool:
        """Tell whether both may be one table: a schema that is not named stands for any."""
        return self.name == other.name and (not self.schema or not other.schema or self.schema == other.schema)

    def quoted(self, connection: Any) -> str:
        """Return the name as ``connection`` takes it in a statement."""
        parts = (self.schema, self.name) if self.schema else (self.name,)
        return ".".join(quoted(connection, part) for part in parts)

    def __str__(self) -> str:
        """Return the name for a reader."""
        return f"{self.schema}.{self.name}" if self.schema else self.name


def quoted(connection: Any, name: str) -> str:
    """Return ``name`` in the quotes of ``connection``; the backend's own quote_name() doubles none within."""
    mark = "`" if connection.vendor == "mysql" else '"'
    return mark + name.replace(mark, mark * 2) + mark


def model_of(table: TableName) -> Any:
    """Return the model kept in ``table``, or None; a model that names no schema may be in any."""
    models = [
        (model, TableName.of_db_table(model._meta.db_table)) for model in apps.get_models(include_auto_created=True)
    ]
    exact = (model for model, name in models if name == table)
    loose = (model for model, name in models if name == TableName(table.name))
    return next(exact, None) or next(loose, None)


def named(table: TableName) -> str:
    """Return what a report calls ``table``: its model, or itself."""
    model = model_of(table)
    return model.__name__ if model is not None else str(table)
