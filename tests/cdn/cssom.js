// What a style sheet means to this browser, as lists that Python compares; tests/cdn/cssom.py says why that is sound.
(() => {
  const shorthands = (() => {
    // Of each longhand the shorthands that set it: values with var() are kept by these alone.
    const names = [...new Set(Object.keys(Object.getOwnPropertyDescriptors(document.documentElement.style))
      .concat([...getComputedStyle(document.documentElement)])
      .map((name) => name.replace(/^webkit/, "Webkit").replace(/[A-Z]/g, (letter) => "-" + letter.toLowerCase())))];
    const found = {};
    const probe = document.createElement("i");
    for (const name of names) {
      probe.style.cssText = `${name}: var(--x)`;
      if (probe.style.length > 1 || (probe.style.length === 1 && probe.style[0] !== name))
        for (const longhand of probe.style) (found[longhand] ??= []).push(name);
    }
    return found;
  })();

  function valueOf(style, name) {
    const value = style.getPropertyValue(name);
    if (value || name.startsWith("--")) return value;
    for (const shorthand of shorthands[name] ?? []) {
      const whole = style.getPropertyValue(shorthand);
      if (whole) return `${shorthand}: ${whole}`;
    }
    return value;
  }

  function split(list) {
    const parts = [];
    let deep = 0, quote = "", part = "";
    for (let at = 0; at < list.length; at++) {
      const letter = list[at];
      if (letter === "\\") { part += letter + list[++at]; continue; }
      if (quote) { if (letter === quote) quote = ""; }
      else if (letter === '"' || letter === "'") quote = letter;
      else if ("([".includes(letter)) deep++;
      else if (")]".includes(letter)) deep--;
      if (letter === "," && !deep && !quote) { parts.push(part.trim()); part = ""; } else part += letter;
    }
    return [...parts, part.trim()];
  }

  function declarations(style) {
    return [...style].map((name) => [name, valueOf(style, name), style.getPropertyPriority(name)]);
  }

  function walk(rules, context, found) {
    for (const rule of rules) {
      const kind = rule.constructor.name;
      if (kind === "CSSStyleRule" || kind === "CSSNestedDeclarations") {
        const selectors = kind === "CSSStyleRule" ? split(rule.selectorText) : ["&"];
        for (const [name, value, priority] of declarations(rule.style))
          for (const selector of selectors) found.styles.push([context, selector, name, value, priority]);
        if (rule.cssRules?.length) walk(rule.cssRules, [...context, `style ${rule.selectorText}`], found);
      } else if (kind === "CSSKeyframesRule") {
        const frames = [...rule.cssRules].flatMap((frame) =>
          split(frame.keyText).flatMap((key) => declarations(frame.style).map((each) => [key, ...each])));
        found.others.push([context, `@keyframes ${rule.name}`, frames]);
      } else if (rule.cssRules) {
        const name = rule.conditionText ?? rule.name ?? `${rule.start ?? ""} to ${rule.end ?? ""}`;
        if (kind === "CSSLayerBlockRule") found.layers.push([context, rule.name]);
        const label = `${kind} ${rule.containerName ?? ""} ${rule.containerQuery ?? name}`.replace(/\s+/g, " ");
        walk(rule.cssRules, [...context, label], found);
      } else if (kind === "CSSLayerStatementRule") {
        for (const name of rule.nameList) found.layers.push([context, name]);
      } else {
        const style = rule.style ? declarations(rule.style) : null;
        const said = style ? rule.cssText.slice(0, rule.cssText.indexOf("{")) : rule.cssText;
        found.others.push([context, said, style]);
      }
    }
    return found;
  }

  // Returns what the style sheet `text` means: its declarations, its layers, its other rules, each in their order.
  window.meaning = (text) => {
    const element = document.createElement("style");
    element.textContent = text;
    document.head.append(element);
    try {
      return walk(element.sheet.cssRules, [], { styles: [], layers: [], others: [] });
    } finally {
      element.remove();
    }
  };

  // Tells of pairs [name, one, other] whether both values compute to the same wherever they are set.
  window.computesAlike = (pairs) => {
    const settings = [
      "display: none; font-size: 16px; color: rgb(1, 2, 3); line-height: 1.3; direction: ltr; --x: 3px",
      "display: none; font-size: 23px; color: rgb(90, 80, 70); line-height: 2em; direction: rtl; --x: 5px; font: italic 300 23px/2 serif; visibility: hidden; cursor: help",
    ];
    const probes = settings.map((style) => {
      const outer = document.createElement("div"), inner = document.createElement("div");
      outer.style.cssText = style;
      outer.append(inner);
      document.body.append(outer);
      return inner;
    });
    const computed = (name, value) => probes.map((probe) => {
      probe.style.cssText = "";
      probe.style.setProperty(name, value);
      const found = getComputedStyle(probe).getPropertyValue(name);
      // Nothing of whatever is left over is nothing.
      const plain = /(position(-[xy])?|origin)$/.test(name) ? found.replace(/(?<![\d.])0%/g, "0px") : found;
      return `${probe.style.length > 0} ${plain}`;
    }).join("|");
    const told = pairs.map(([name, one, other]) => computed(name, one) === computed(name, other));
    for (const probe of probes) probe.parentNode.remove();
    return told;
  };

  // Returns a colour as the browser computes it; null where it is none.
  window.colours = (texts) => texts.map((text) => {
    const probe = document.createElement("i");
    probe.style.color = text;
    if (!probe.style.color) return null;
    document.body.append(probe);
    try { return getComputedStyle(probe).color; } finally { probe.remove(); }
  });
})();
