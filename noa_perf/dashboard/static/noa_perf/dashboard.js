// Optional: copies cures, and brings the figures up to date every half minute while the page is looked at.
"use strict";
(() => {
  const live = () => document.getElementById("np-live");

  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".np-copy");
    if (!button) return;
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "✓";
    } catch {
      button.textContent = "✕";
    }
    setTimeout(() => { button.textContent = before; }, 1500);
  });

  const busy = () => document.hidden || live().contains(document.activeElement) || live().querySelector("details[open]");

  const refresh = async () => {
    if (!live() || busy()) return;
    try {
      const answer = await fetch(location.href, { headers: { "X-Requested-With": "fetch" } });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("np-live");
      if (fresh && !busy()) live().replaceWith(fresh);
    } catch { /* offline: the next one may come through */ }
  };
  window.noaPerfRefresh = refresh;
  if (live()) setInterval(refresh, Number(live().dataset.seconds) * 1000);
})();
