/*
 * A short list of words in this browser alone: the newest first, each once.
 */

const PREFIX = "fjord-and-field.";

/** Return what was remembered under a name; nothing where the browser keeps nothing for us. */
export function recall(name) {
  try {
    const kept = JSON.parse(localStorage.getItem(PREFIX + name) ?? "[]");
    return Array.isArray(kept) ? kept.filter((each) => typeof each === "string") : [];
  } catch (error) {
    return [];
  }
}

/** Put a word before the others, and keep so many of them. */
export function remember(name, word, most) {
  const others = recall(name).filter((each) => each.toLowerCase() !== word.toLowerCase());
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify([word, ...others].slice(0, most)));
  } catch (error) {
    // Full, or forbidden: it is a convenience, no more.
  }
}
