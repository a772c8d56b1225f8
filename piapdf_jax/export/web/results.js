// What the page says: bars by unit, a line in words, and what the model learned from. All of it is put in as text.
const CUTS = MODEL.units.map(unit => MODEL.cuts[unit]);
const WEAK = MODEL.weak_units || [];

const element = (tag, content = "", name = "") => {
  const made = document.createElement(tag);
  made.textContent = content;
  made.className = name;
  return made;
};
const byId = id => document.getElementById(id);
const nameOf = unit => (FACTS.names[unit] || `AU${unit}`) + (WEAK.includes(unit) ? " (weak)" : "");
const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

const bars = MODEL.units.map((unit, k) => {
  const row = element("li"), name = element("span", "", "name"), value = element("span", "", "value");
  const bar = element("div", "", "bar"), fill = element("div", "", "fill");
  name.append(element("b", `AU${unit}`), ` ${FACTS.names[unit] || ""}`);
  if (WEAK.includes(unit)) name.append(" ", element("span", "weak", "weak"));
  bar.setAttribute("aria-hidden", "true");
  bar.append(fill);
  if (CUTS[k] !== null) {
    const cut = element("div", "", "cut");
    cut.style.left = `${100 * CUTS[k]}%`;
    bar.append(cut);
  }
  row.append(name, value, bar);
  byId("units").append(row);
  return {row, value, fill};
});

// Words of the state for everybody, read aloud as well; `bad` is for what went wrong.
const tell = (text, bad = false) => {
  if (byId("status").textContent !== text) byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
};

const summary = probabilities => {
  const present = MODEL.units.filter((_, k) => CUTS[k] !== null && probabilities[k] >= CUTS[k]);
  return present.length ? `Present: ${present.map(nameOf).join(", ")}.` : "No unit reaches its cut.";
};

// A camera's faces flicker: what they show is put into words now and then, as fast as somebody may listen.
const PAUSE = 2500;
let spoken = -PAUSE;
const speak = (text, still) => {
  const now = performance.now();
  if (!still && now - spoken < PAUSE) return;
  spoken = now;
  tell(text);
};

const show = (probabilities, still) => {
  bars.forEach(({row, value, fill}, k) => {
    const present = CUTS[k] !== null && probabilities[k] >= CUTS[k];
    const word = CUTS[k] === null ? "no cut" : present ? "present" : "absent";
    row.classList.toggle("present", present);
    fill.style.width = `${100 * probabilities[k]}%`;
    value.textContent = `${word} ${probabilities[k].toFixed(2)}`;
  });
  speak(summary(probabilities), still);
};

const about = () => {
  byId("side").textContent = `${MODEL.image_size} \u00d7 ${MODEL.image_size} pixels`;
  byId("model").textContent = `${MODEL.title} (training ${MODEL.training}, export ${MODEL.digest}, weights ${FACTS.dtype}): `
    + `${count(MODEL.frames.labeled, "labeled frame", "labeled frames")} of training; the cuts were set on `
    + `${MODEL.frames.scored.toLocaleString("en")} of them.`;
  for (const part of MODEL.data) {
    const row = element("tr");
    const labels = part.labeled ? "read" : "not read";
    for (const text of [part.training, `${part.name} ${part.version}`, part.split, part.people, labels]) {
      row.append(element("td", String(text)));
    }
    byId("data").tBodies[0].append(row);
  }
  const notes = [
    ...Object.entries(MODEL.stand_ins).map(([key, value]) => `Stand-in, ${key}: ${value}`),
    ...Object.entries(MODEL.no_cut).map(([unit, why]) => `AU${unit} (${nameOf(unit)}) has no cut: ${why}`),
    ...(WEAK.length ? [`Weak, to be read with care: ${WEAK.map(unit => `AU${unit}`).join(", ")}. Where this detector was `
      + "judged on faces unlike those it learned from, it told these units badly."] : []),
    "A face that is unlike those it learned from may be read wrongly. What a face shows is not what a person feels.",
  ];
  byId("notes").append(...notes.map(note => element("li", note)));
  byId("licenses").append(...MODEL.licences.map(({of, terms, source}) =>
    element("li", [of, terms, source].filter(Boolean).join(" \u2013 "))));
};
about();
