/*
 * Keys that work anywhere on a page, but where somebody writes.
 */

function isWriting(element) {
  const name = element.tagName;
  return name === "INPUT" || name === "TEXTAREA" || name === "SELECT" || element.isContentEditable;
}

/** Call back when a slash is pressed outside any field. */
export function onSlash(callback) {
  document.addEventListener("keydown", (event) => {
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (event.key === "/" && plain && !isWriting(event.target)) {
      event.preventDefault();
      callback();
    }
  });
}
