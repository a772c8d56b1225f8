// What a reader sees of a page, as values that Python judges. Nothing here changes the page.
(() => {
  const shown = e => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length > 0;

  // Elements that hold text of their own, each with that text.
  const texts = () => {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const element = node.parentElement, text = node.data.trim();
      if (text && shown(element) && !element.closest("svg title, script, style, option")) {
        found.push([element, text.slice(0, 40)]);
      }
    }
    return found;
  };

  // Remembers what a function said of a color or an element: there are thousands of words.
  const remembered = (say, seen = new Map()) => key => seen.has(key) ? seen.get(key) : seen.set(key, say(key)).get(key);

  // Any CSS color as four bytes: the canvas parses it.
  const context = Object.assign(document.createElement("canvas"), {width: 1, height: 1})
    .getContext("2d", {willReadFrequently: true});
  const bytes = remembered(color => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  });
  const over = ([r, g, b, a], below) => [r, g, b].map((v, i) => (v * a + below[i] * (255 - a)) / 255);

  // Backgrounds from the outermost in. The canvas of a page without one is white, or black where it says dark.
  const canvas = () => {
    const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark")
      && matchMedia("(prefers-color-scheme: dark)").matches;
    return Array(3).fill(dark ? 18 : 255);
  };
  const background = remembered(e =>
    e ? over(bytes(getComputedStyle(e).backgroundColor), background(e.parentElement)) : canvas());
  const opacity = remembered(e => e ? getComputedStyle(e).opacity * opacity(e.parentElement) : 1);
  const luminance = rgb => {
    const [r, g, b] = rgb.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = element => {
    const style = getComputedStyle(element), below = background(element);
    const color = [...bytes(element.ownerSVGElement ? style.fill : style.color)];
    color[3] *= opacity(element);
    const pair = [luminance(over(color, below)), luminance(below)].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  };

  // Pixels of the screen that a letter's size takes: charts may be drawn smaller than they are written.
  const size = element => parseFloat(getComputedStyle(element).fontSize)
    * (element.ownerSVGElement ? Math.abs(element.getScreenCTM().d) : 1);
  const scrolls = remembered(e =>
    !!e && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement)));

  const marks = svg => [...svg.querySelectorAll("path,circle,rect,line,polyline,polygon,ellipse,image")]
    .filter(e => !e.closest("defs, clipPath, symbol"));
  const painted = e => {
    const style = getComputedStyle(e);
    return shown(e) && (e.tagName === "image" || style.fill !== "none" || style.stroke !== "none");
  };
  const box = e => {
    const {left, top, right, bottom} = e.getBoundingClientRect();
    return [left, top, right, bottom];
  };

  // A cell's text: its number, and beside it what is written small.
  const words = cell => [...cell.childNodes].map(node => node.textContent).join(" ").trim();
  const table = e => ({
    name: (e.caption?.textContent || e.id || "without a caption").trim(),
    heads: [...(e.tHead?.rows[e.tHead.rows.length - 1]?.cells || [])].map(cell => ({
      text: cell.textContent.trim(), button: !!cell.querySelector("button"), sort: cell.getAttribute("aria-sort")})),
    bodies: [...e.tBodies].map(body => [...body.rows].map(row => [...row.cells].map(words))),
  });
  // Words of a chart that are written over one another.
  const collisions = svg => {
    const boxes = [...svg.querySelectorAll("text")].filter(shown).map(e => [e.textContent, box(e)]), found = [];
    boxes.forEach(([text, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
      const across = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), down = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
      if (across > 1 && down > 3) found.push([text, other]);
    }));
    return found;
  };

  return {
    texts: () => texts().map(([e, text]) => ({text, size: size(e), contrast: contrast(e), chart: !!e.ownerSVGElement,
      right: e.getBoundingClientRect().right, scrolls: scrolls(e)})),
    width: () => document.documentElement.scrollWidth,
    charts: () => [...document.querySelectorAll("svg")].filter(shown).map(svg => ({
      name: svg.getAttribute("aria-label") || svg.querySelector("title")?.textContent || "", box: box(svg),
      marks: marks(svg).filter(painted).map(box),
      broken: [...svg.querySelectorAll("*")].filter(e => [...e.attributes].some(a => /NaN|Infinity|undefined/.test(a.value)))
        .map(e => e.outerHTML.slice(0, 80)), collisions: collisions(svg),
    })),
    tables: () => [...document.querySelectorAll("table")].map(table),
    table: number => table(document.querySelectorAll("table")[number]),
    button: (table, column) => {
      const head = document.querySelectorAll("table")[table].tHead;
      return head.rows[head.rows.length - 1].cells[column].querySelector("button");
    },
    // What data must never make: code, a listener in markup, something that is loaded or sent.
    foreign: () => [...document.querySelectorAll("*")].filter(e =>
      [...e.attributes].some(a => /^on/i.test(a.name) || /^\s*javascript:/i.test(a.value))
      || e.matches("iframe,object,embed,form,link,base,video,audio,source,use[href^=http]")
      || (e.matches("img,image") && !(e.getAttribute("src") || e.getAttribute("href") || "").startsWith("data:")))
      .map(e => e.outerHTML.slice(0, 120)),
    scripts: () => [...document.querySelectorAll("script")].filter(s => s.type !== "application/json").length,
  };
})()
