"""The cure for a query that is run again with the same values: where to keep what it fetched."""

from __future__ import annotations

from noa_perf.core.findings import Place
from noa_perf.optimizer import places
from noa_perf.optimizer.cures.cure import Cure
from noa_perf.optimizer.groups import Group

OF_A_LIST = "show_full_result_count = False"
UNCHANGED = "nothing was written in between."


def cure_of(first: Group, others: tuple[Group, ...]) -> Cure:
    """Return the cure for what ``first`` fetched, and ``others`` fetched again."""
    groups = (first, *others)
    if all("ChangeList.get_results" in group.site.operations for group in groups):
        text = f"Set {OF_A_LIST} on the ModelAdmin: it counts the rows that are listed and all rows, in two queries."
        return Cure(OF_A_LIST, text)
    if all("ModelChoiceIterator.__iter__" in group.site.operations for group in groups):
        return _of_choices(first)
    kept, asked = spot(first, groups), places.node(first)
    if kept is not None and kept == asked and all(spot(group, groups) == places.node(group) for group in others):
        way = "{% with %} around them, or `as` where the tag knows it"
        return Cure("", f"Ask once at {kept} and keep it in the template ({way}); {UNCHANGED}")
    named = f"what {kept or asked} fetched" if kept or asked else "what was fetched first"
    return Cure("", f"Keep {named} and pass it on; {UNCHANGED}")


def spot(group: Group, groups: tuple[Group, ...]) -> Place | None:
    """Return the place of one of ``groups`` to change; a template's only where it asks itself, or repeats one tag."""
    return places.change(group, looped=all(other is group for other in groups))


def _of_choices(first: Group) -> Cure:
    node = first.site.node
    if node is not None and node.template.startswith("admin/"):
        text = "name the field in raw_id_fields or autocomplete_fields"
        return Cure(
            "autocomplete_fields", f"Each select box asks for all its choices: {text} of its ModelAdmin or inline."
        )
    return Cure("", "Several select boxes ask for the same choices: fetch them once, and give each field that list.")
