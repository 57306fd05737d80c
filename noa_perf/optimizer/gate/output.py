"""The gate's verdict for machines: JUnit XML, and annotations that GitHub shows at the lines of a pull request."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from django.conf import settings

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(endpoints: Iterable[str], findings: list[dict[str, Any]]) -> str:
    """Return a test case for each endpoint: failed where it became worse, or is gone."""
    failures: dict[str, list[dict[str, Any]]] = {}
    for finding in findings:
        failures.setdefault(finding["evidence"]["endpoint"], []).append(finding)
    names = list(endpoints)
    counts = {"tests": len(names), "failures": len(failures), "errors": 0, "skipped": 0}
    figures = {key: str(count) for key, count in counts.items()}
    root = ET.Element("testsuites", {key: figures[key] for key in ("tests", "failures", "errors")})
    suite = ET.SubElement(root, "testsuite", {"name": "perf_gate", **figures})
    for name in names:
        case = ET.SubElement(suite, "testcase", {"classname": "perf_gate", "name": _plain(name), "time": "0"})
        if name in failures:
            of_this = failures[name]
            kinds = ", ".join(dict.fromkeys(one["kind"] for one in of_this))
            failure = ET.SubElement(case, "failure", {"type": kinds, "message": _plain(of_this[0]["summary"])})
            failure.text = _plain("\n\n".join(told(one) for one in of_this))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def told(finding: dict[str, Any]) -> str:
    """Return a finding as plain lines: what, cure, line."""
    change = finding["change"]
    line = f"\nchange: {change['file']}:{change['line']}" if change else ""
    return f"{finding['kind']}: {finding['subject']}\n{finding['summary']}\ncure: {finding['cure']}{line}"


def github(findings: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a workflow command for each finding."""
    for one in findings:
        place = one["change"] or one["where"]
        properties = {"file": _from_checkout(place["file"]), "line": place["line"] or 1} if place else {}
        properties["title"] = f"{one['kind']}: {one['subject']}"
        written = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())
        yield f"::error {written}::{_message(one['summary'] + chr(10) + 'cure: ' + one['cure'])}"


def _from_checkout(file: str) -> str:
    """Return the path as it is below the checkout; places are named from the site's base directory."""
    checkout = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd()).resolve()
    whole = Path(getattr(settings, "BASE_DIR", "") or ".").resolve() / file
    return whole.relative_to(checkout).as_posix() if whole.is_relative_to(checkout) else file


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def _plain(text: str) -> str:
    """Return ``text`` without what no XML can hold."""
    return _NOT_IN_XML.sub("?", text)
