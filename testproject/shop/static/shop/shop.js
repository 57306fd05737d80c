/*
 * What the shop's pages do in a browser. Each works without it; with it they are a little quicker to use.
 */

import { remember, recall } from "./recently.js";
import { onSlash } from "./keys.js";

const search = document.querySelector('input[name="q"]');

// A slash, pressed outside a field, goes to the search, as on many sites.
onSlash(() => {
  search.focus();
  search.select();
});

// The last words that were searched for are offered again.
const form = search.closest("form");
form.addEventListener("submit", () => {
  const words = search.value.trim();
  if (words.length > 1) {
    remember("searches", words, 8);
  }
});

const offered = document.createElement("datalist");
offered.id = "recent-searches";
for (const words of recall("searches")) {
  const option = document.createElement("option");
  option.value = words;
  offered.append(option);
}
form.append(offered);
search.setAttribute("list", offered.id);

// A form that is sent twice would order twice.
for (const other of document.querySelectorAll('form[method="post"]')) {
  other.addEventListener("submit", (event) => {
    if (other.dataset.sent) {
      event.preventDefault();
    }
    other.dataset.sent = "yes";
  });
}

document.documentElement.dataset.script = "ready";
