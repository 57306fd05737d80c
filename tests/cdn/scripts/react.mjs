import { load, print } from "./load.mjs";

load("react/umd/react.development.js");
load("react-dom/umd/react-dom-server-legacy.browser.development.js");
const h = React.createElement;
console.error = (...told) => print("error", String(told[0]).slice(0, 200), ...told.slice(1, 3).map(String).map((each) => each.slice(0, 80)));
print(React.version, Object.keys(React).sort().join());
print(Object.keys(ReactDOMServer).sort().join());
const render = (element) => console.log(ReactDOMServer.renderToString(element));
const Theme = React.createContext("light");
function Name({ first, last }) {
  const theme = React.useContext(Theme), id = React.useId(), [n] = React.useState(() => 3);
  const ref = React.useRef(null), total = React.useMemo(() => n * 2, [n]);
  return h("p", { id, ref, className: theme, "data-n": n }, first, " ", last, " ", total);
}
class Old extends React.Component {
  static defaultProps = { size: 4 };
  state = { open: true };
  render() { return h("div", { hidden: !this.state.open, style: { fontSize: this.props.size, WebkitBoxFlex: 1 } }, this.props.children); }
}
const Memo = React.memo(({ list }) => h("ul", null, list.map((each) => h("li", { key: each }, each))));
const Forwarded = React.forwardRef((props, ref) => h("input", { ...props, ref, readOnly: true }));
render(h(Name, { first: "A<b", last: "&c" }));
render(h(Theme.Provider, { value: "dark" }, h(Name, { first: "x" }), h(Theme.Consumer, null, (theme) => h("i", null, theme))));
render(h(Old, null, h(Memo, { list: [1, "two", 3] }), null, false, 0, ["a", "b"].map((each) => h("b", { key: each }, each))));
render(h(Forwarded, { value: "v", type: "checkbox", defaultChecked: true, disabled: true, tabIndex: -1 }));
render(h("svg", { viewBox: "0 0 1 1", xlinkHref: "#a", strokeWidth: 2 }, h("path", { d: "M0 0", fillOpacity: 0.5 })));
render(h("select", { defaultValue: "b" }, h("option", { value: "a" }, "A"), h("option", { value: "b" }, "B")));
render(h("textarea", { defaultValue: "text\n<x>" }));
render(h("div", { dangerouslySetInnerHTML: { __html: "<b>raw</b>" }, onClick: () => {}, "aria-label": "l", contentEditable: true, suppressContentEditableWarning: true }));
render(h(React.Suspense, { fallback: "wait" }, h("p", null, "there")));
render(h(React.StrictMode, null, h(React.Fragment, null, "one", h("br"), "two")));
render([h("a", { key: 1, href: "javascript:void 0" }), h("img", { key: 2, srcSet: "a 1x", alt: "" })]);
console.log(ReactDOMServer.renderToStaticMarkup(h("p", { style: { margin: 0, lineHeight: 1.5, "--x": "1px" } }, "static ", 1)));
print(React.Children.map([h("a"), "b", [null, 1]], (child) => child?.type ?? String(child)), React.Children.count([1, [2, 3]]), React.isValidElement(h("a")));
const cloned = React.cloneElement(h("a", { href: "#" }, "x"), { title: "t" }, "y");
print(cloned.type, cloned.props, cloned.key);
for (const broken of [() => h("p", null, {}), () => h(undefined), () => h(() => { throw new Error("mine"); })]) {
  try { render(broken()); } catch (error) { print(error.message.slice(0, 150)); }
}
render(h("ul", null, [h("li"), h("li")]));
render(h("div", { class: "wrong", onclick: "x", tabindex: 1 }));
const lazy = React.lazy(() => Promise.resolve({ default: () => h("p") }));
try { render(h(React.Suspense, { fallback: "f" }, h(lazy))); } catch (error) { print(error.message); }
print(React.Children.toArray(["a", h("b", { key: "k" })]).map((each) => each.key ?? each), typeof React.startTransition, React.createRef());
