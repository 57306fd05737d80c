"""The demo's row about a page's files: what a browser asks for, and what it need not ask for again."""

from __future__ import annotations

from testproject.demo import assets
from testproject.demo.assets import Assets, Site, Visit

PAGE = """
<link rel="icon" href="data:,"><link rel="stylesheet" href="/static/a.css"><script type="module" src="/static/b.js">
</script><picture>
<source type="image/avif" srcset="/static/c.640.avif 640w, /static/c.1200.avif 1200w" sizes="50vw">
<source type="image/webp" srcset="/static/c.webp 640w"><img src="/static/c.jpg" alt=""></picture>
<img src="/static/d.png">
"""


def test_a_browser_takes_the_first_type_and_the_width_that_fills_the_slot():
    assert assets._Page(PAGE).links == ["/static/a.css", "/static/b.js", "/static/c.1200.avif", "/static/d.png"]
    assert assets._chosen("/a 100w, /b 200w") == "/b"
    assert assets._chosen("/a 1500w, /b 1300w, /c 10w") == "/b"


def test_the_table_says_how_much_less_and_what_could_not_be_loaded():
    found = Assets(Site(Visit(5, 1_000, 5), Visit(5, 0, 5)), Site(Visit(5, 250, 5), Visit(0, 0, 0)))
    text = found.as_table()
    assert "75% less" in text
    assert "100% less" in text
    assert assets.WITHOUT in text
    found.plain.crowd, found.published.crowd = Visit(100, 0, 100), Visit(100, 0, 5)
    found.plain.load_ms[:], found.published.load_ms[:] = [100.0, 900.0, 200.0], [50.0, 60.0, 1.0]
    text = found.as_table()
    assert "95% less" in text
    assert " 200 " in text
    assert " 50 " in text
    assert assets.WITHOUT not in text
    assert found.as_dict()["published"]["crowd_at_origin"] == 5
